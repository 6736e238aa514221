from __future__ import annotations

from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rooms import PROMPT, bench, digits, final, furthest, play, reference, serve
from synoptic.adapters.stack import names
from synoptic.learning.batches import plan
from synoptic.methods.promptfl import PromptFL
from synoptic.models.dual_encoder import READY, DualEncoder


def test_a_round_is_coops_training_and_fedavgs_mean() -> None:
    """The reference puts the context vectors into the vocabulary as new words after the start token."""
    on = bench(digits(), PROMPT, optimizer="sgd", lr=0.02)
    start, n = on.new_adapter(), [len(on.data.clients.train(k)) for k in range(4)]
    local = []
    for k in range(4):
        batches = plan(on.data.clients.train(k), on.train, 0, 0, k)
        local.append(reference(on.data).train(start, batches, lambda p: torch.optim.SGD(p, 0.02)))
    plain = TensorDict({key: sum(n[k] / sum(n) * local[k][key] for k in range(4)) for key in local[0]}, [])
    ours = final(PromptFL(), on, rounds=1)
    assert furthest(ours, start) > 1e-4
    assert furthest(ours, plain) < 2e-5


def test_only_the_context_is_trained_and_sent() -> None:
    on = bench(digits(), PromptFL.adapter.model_dump())
    assert names(on.new_adapter()) == ["text/prompt/context"]


def test_image_features_are_computed_once_for_the_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    original = DualEncoder.image_prefix

    def counting(self: DualEncoder, pixels: Any, depth: Any) -> Any:
        assert depth == READY
        calls.append(len(pixels))
        return original(self, pixels, depth)

    monkeypatch.setattr(DualEncoder, "image_prefix", counting)
    on = bench(digits(), PROMPT, epochs=3)
    play(PromptFL(), serve(PromptFL(), on, stack=2), 3)
    assert sum(calls) == len(on.data.train)
    assert on.train_rows._cache(READY).misses == len(calls)
