from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from rooms import PROMPT, bench, digits, final, furthest, reference, world
from synoptic.adapters.stack import leaves
from synoptic.learning.batches import plan
from synoptic.methods.kgcoop import KgCoOp
from synoptic.methods.promptfl import PromptFL


def kgcoop(weight: float) -> KgCoOp:
    return KgCoOp(KgCoOp.Settings(weight=weight))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_without_a_weight_it_is_promptfl(optimizer: str) -> None:
    """To float error: a gradient of zero is added, in another order."""
    on = bench(digits(), PROMPT, optimizer=optimizer, lr=0.01)
    ours = final(kgcoop(0.0), on)
    assert furthest(ours, on.new_adapter()) > 1e-3
    assert furthest(ours, final(PromptFL(), on)) < 1e-5


def test_a_round_minimises_cross_entropy_and_the_mean_squared_distance_of_names() -> None:
    """The untouched names come from Hugging Face's own text tower, the tuned ones from new words in its vocabulary."""
    on, weight = bench(digits(), PROMPT, optimizer="sgd", lr=0.02), 15.0
    plain, start, n = reference(on.data), on.new_adapter(), [len(on.data.clients.train(k)) for k in range(4)]
    original = plain.names({})
    local = []
    for k in range(4):
        context = start["text/prompt/context"].clone().requires_grad_()
        step = torch.optim.SGD([context], 0.02)
        for rows in plan(on.data.clients.train(k), on.train, 0, 0, k):
            tuned = {"text/prompt/context": context}
            apart = (plain.names(tuned) - original).square().sum(-1).mean()
            step.zero_grad()
            (plain.loss(tuned, rows) + weight * on.model.logit_scale / 100 * apart).backward()
            step.step()
        local.append(context.detach())
    wanted = sum(n[k] / sum(n) * local[k] for k in range(4))
    ours = final(kgcoop(weight), on, rounds=1)
    assert furthest(ours, TensorDict({"text/prompt/context": wanted}, [])) < 2e-5
    assert furthest(ours, final(PromptFL(), on, rounds=1)) > 1e-5, "the distance must matter"


def test_a_heavier_weight_holds_names_nearer() -> None:
    on = bench(world(), PROMPT, lr=0.02)
    classes = on.data.base_classes
    apart = []
    for weight in (0.0, 5.0, 40.0):
        worn = leaves(final(kgcoop(weight), on, rounds=3).unsqueeze(0))
        with on.model.wearing(worn):
            tuned = on.classifier.texts(worn, classes, 1)
        apart.append(float((tuned - on.classifier.texts({}, classes, 1)).norm()))
    assert apart[0] > apart[1] > apart[2]
