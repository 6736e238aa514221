from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rooms import BOTH, HEAD, PROMPT, VISION, bench, digits, reference, world
from synoptic.adapters.stack import leaves, names, stack_of
from synoptic.core.seeds import generator
from synoptic.federation.bench import Bench
from synoptic.models.dual_encoder import DualEncoder

ADAPTERS: dict[str, dict[str, Any]] = {
    "vision": VISION,
    "both": BOTH,
    "prompt": PROMPT,
    "head": HEAD,
    "text head": {"text": "head"},
}


def worn(on: Bench, clients: int = 3) -> dict[str, Tensor]:
    stack = stack_of([on.new_adapter() for _ in range(clients)])
    for name in names(stack):
        if not name.endswith("/scale"):
            stack[name] = stack[name] + 0.05 * torch.randn(stack[name].shape, generator=generator(0, "wear", name))
    return leaves(stack)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_cached_is_uncached(adapter: str) -> None:
    cached, plain = (bench(digits(), ADAPTERS[adapter], cached=on) for on in (True, False))
    positions = cached.data.clients.train_rows.positions[np.array([[5, 1, 7], [0, 1, 2], [40, 3, 9]])]
    logits = [
        on.classifier.logits(worn(on), on.train_rows, positions, on.data.base_classes) for on in (cached, plain, cached)
    ]
    # Embeddings agree to 1e-6; logits carry the temperature.
    assert float((logits[0] - logits[1]).abs().max()) / cached.model.logit_scale < 1e-6
    assert torch.equal(logits[0], logits[2])


@pytest.mark.parametrize("adapter", [VISION, BOTH, PROMPT], ids=["vision", "both", "prompt"])
def test_logits_are_those_of_hugging_face_with_merged_weights(adapter: dict[str, Any]) -> None:
    on = bench(digits(), adapter)
    stack = worn(on)
    positions = on.data.clients.train_rows.positions[:6].reshape(3, 2)
    logits = on.classifier.logits(stack, on.train_rows, positions, on.data.base_classes)
    for client in range(3):
        one = {name: tensor[client] for name, tensor in stack.items()}
        wanted = reference(on.data).logits(one, positions[client])
        torch.testing.assert_close(logits[client], wanted, rtol=0, atol=2e-4)


def test_frozen_text_is_computed_once_for_each_set_of_classes_and_serves_everybody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on = bench(world(), VISION)
    stack, calls = worn(on), []
    original = DualEncoder.text_prefix

    def counting(self: DualEncoder, tokens: Any, depth: Any) -> Tensor:
        calls.append(depth)
        return original(self, tokens, depth)

    monkeypatch.setattr(DualEncoder, "text_prefix", counting)
    with on.model.wearing(stack):
        first, other, again = (
            on.classifier.texts(stack, classes, 3)
            for classes in (on.data.base_classes, on.data.novel_classes, on.data.base_classes)
        )
    assert first.shape[0] == 1
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(calls) == 2


def test_adapted_texts_are_per_client() -> None:
    on = bench(digits(), PROMPT)
    stack = worn(on)
    with on.model.wearing(stack):
        texts = on.classifier.texts(stack, on.data.base_classes, 3)
    assert texts.shape == (3, len(on.data.base_classes), on.model.dim)
    assert not torch.equal(texts[0], texts[1])


@pytest.mark.parametrize("batch", [1, 7, 256])
def test_predictions_do_not_depend_on_the_batch_size(batch: int) -> None:
    on = bench(world(), VISION)
    stack, positions = worn(on, 2), np.arange(9)
    classes = np.arange(len(on.data.class_names))
    predicted = on.classifier.predict(stack, on.test_rows, positions, classes, batch)
    whole = on.classifier.predict(stack, on.test_rows, positions, classes)
    assert predicted.shape == (2, 9, len(classes))
    torch.testing.assert_close(predicted, whole, rtol=0, atol=1e-4)


def test_without_an_adapter_it_is_the_base_alone() -> None:
    on = bench(digits())
    positions = np.arange(4)
    plain = on.classifier.predict({}, on.test_rows, positions, on.data.base_classes)
    fresh = on.classifier.predict(leaves(on.new_adapter().unsqueeze(0)), on.test_rows, positions, on.data.base_classes)
    torch.testing.assert_close(plain, fresh, rtol=0, atol=1e-4)


def test_the_loss_is_the_references() -> None:
    on = bench(digits(), BOTH)
    stack = worn(on, 1)
    positions = on.data.clients.train(0)[:5]
    loss = on.classifier.loss(on.train_rows, on.data.train.labels, on.data.base_classes)
    from synoptic.learning.batches import zip_steps

    (batch,) = zip_steps([[positions]])
    ours = float(batch.mean(loss(stack, batch)))
    one = {name: tensor[0] for name, tensor in stack.items()}
    assert ours == pytest.approx(float(reference(on.data).loss(one, positions)), abs=1e-4)
