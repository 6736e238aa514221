from __future__ import annotations

from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rooms import BOTH, HEAD, PROMPT, VISION, bench, digits, furthest, same
from synoptic.adapters.stack import expand, names, stack_of
from synoptic.core import SynopticError
from synoptic.core.seeds import generator
from synoptic.federation.bench import Bench
from synoptic.learning.batches import Steps, plan
from synoptic.learning.fit import Fitted, fit
from synoptic.learning.objectives.proximal import proximal
from synoptic.learning.spec import TrainSpec

SIZES = [11, 3, 16, 8]


def plans(on: Bench, spec: TrainSpec) -> list[Steps]:
    own = [
        on.data.clients.train_rows.positions[start : start + n] for n, start in zip(SIZES, (0, 11, 14, 30), strict=True)
    ]
    return [plan(positions, spec, 0, 0, client) for client, positions in enumerate(own)]


def nudged(on: Bench, clients: int) -> TensorDict:
    """Adapters that differ, with B not zero, as after some training."""
    stack = stack_of([on.new_adapter() for _ in range(clients)])
    for name in names(stack):
        if not name.endswith("/scale"):
            stack[name] = stack[name] + 0.02 * torch.randn(stack[name].shape, generator=generator(0, "nudge", name))
    return stack


def trained(on: Bench, stack: TensorDict, spec: TrainSpec, which: list[int], **options: Any) -> Fitted:
    loss = on.classifier.loss(on.train_rows, on.data.train.labels, on.data.base_classes)
    chosen = [plans(on, spec)[client] for client in which]
    return fit(stack[torch.tensor(which)], chosen, loss, spec, 0.01, **options)


SPECS = {
    "sgd": TrainSpec(batch_size=4, optimizer="sgd"),
    "momentum": TrainSpec(batch_size=4, optimizer="sgd", momentum=0.9, weight_decay=0.01),
    "adamw": TrainSpec(batch_size=4, eps=1e-4),
    "adamw decay": TrainSpec(batch_size=4, eps=1e-4, weight_decay=0.1, epochs=2),
    "clipped": TrainSpec(batch_size=4, optimizer="sgd", clip_norm=0.5),
}


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("adapter", [VISION, BOTH, PROMPT, HEAD], ids=["vision", "both", "prompt", "head"])
def test_stacked_is_one_by_one_with_ragged_sizes(spec: str, adapter: dict[str, Any]) -> None:
    on = bench(digits(), adapter)
    stack = nudged(on, 4)
    together = trained(on, stack, SPECS[spec], [0, 1, 2, 3])
    assert together.steps.tolist() == [len(steps) for steps in plans(on, SPECS[spec])]
    for client in range(4):
        alone = trained(on, stack, SPECS[spec], [client])
        assert furthest(together.stack[client], alone.stack[0]) < 1e-5
        torch.testing.assert_close(together.loss[client], alone.loss[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(together.grad_norm[client], alone.grad_norm[0], rtol=1e-3, atol=1e-4)


def test_stacked_is_one_by_one_with_a_penalty() -> None:
    on = bench(digits())
    stack, near = nudged(on, 4), proximal(on.new_adapter(), 0.5)
    together = trained(on, stack, SPECS["sgd"], [0, 1, 2, 3], penalty=near)
    free = trained(on, stack, SPECS["sgd"], [0, 1, 2, 3])
    assert furthest(together.stack, free.stack) > 1e-3
    for client in range(4):
        assert (
            furthest(together.stack[client], trained(on, stack, SPECS["sgd"], [client], penalty=near).stack[0]) < 1e-5
        )


def test_mixed_ranks_train_as_they_would_alone() -> None:
    benches = [bench(digits(), {"vision": {"lora": {"rank": rank, "layers": 1, "alpha": 4}}}) for rank in (1, 4, 2)]
    adapters = [nudged(on, 1)[0] for on in benches]
    together = trained(benches[0], stack_of(adapters), SPECS["momentum"], [0, 1, 2])
    for client, (on, own) in enumerate(zip(benches, adapters, strict=True)):
        steps = [plans(on, SPECS["momentum"])[client]]
        loss = on.classifier.loss(on.train_rows, on.data.train.labels, on.data.base_classes)
        alone = fit(own.unsqueeze(0), steps, loss, SPECS["momentum"], 0.01)
        for name in names(own):
            rank = {"A": 0, "B": 1}.get(name[-1])
            row = together.stack[client][name]
            real = row if rank is None else row.narrow(rank, 0, own[name].shape[rank])
            torch.testing.assert_close(real, alone.stack[0][name], rtol=0, atol=1e-5)
            if rank is not None:
                assert not row.narrow(rank, own[name].shape[rank], row.shape[rank] - own[name].shape[rank]).any()


def test_the_order_of_clients_does_not_matter() -> None:
    on = bench(digits())
    stack = nudged(on, 4)
    forward = trained(on, stack, SPECS["adamw"], [0, 1, 2, 3])
    backward = trained(on, stack, SPECS["adamw"], [3, 2, 1, 0])
    assert furthest(forward.stack, backward.stack[torch.tensor([3, 2, 1, 0])]) < 1e-5


def test_the_same_call_gives_the_same_bits() -> None:
    on = bench(digits())
    first, second = (trained(on, nudged(on, 4), SPECS["adamw"], [0, 1, 2, 3]) for _ in range(2))
    assert same(first.stack, second.stack)


def test_what_is_not_trainable_stays() -> None:
    on = bench(digits(), BOTH)
    stack = nudged(on, 4)
    fitted = trained(on, stack, SPECS["sgd"], [0, 1, 2, 3], trainable="vision/*")
    for name in names(stack):
        moved = not torch.equal(fitted.stack[name], stack[name])
        assert moved == (name.startswith("vision/") and not name.endswith("/scale")), name


def test_a_pattern_that_matches_nothing_is_one_sentence() -> None:
    on = bench(digits())
    with pytest.raises(SynopticError, match=r"'audio/\*' matches no tensor"):
        trained(on, nudged(on, 4), SPECS["sgd"], [0], trainable="audio/*")


def test_the_start_is_left_unchanged() -> None:
    on = bench(digits())
    one = on.new_adapter()
    before = one.clone()
    fitted = trained(on, expand(one, 4), SPECS["adamw"], [0, 1, 2, 3])
    assert same(one, before)
    assert furthest(fitted.stack[0], one) > 0


def test_the_loss_falls() -> None:
    on = bench(digits(), VISION)
    spec = TrainSpec(batch_size=16, epochs=1)
    stack = expand(on.new_adapter(), 4)
    first = trained(on, stack, spec, [0, 1, 2, 3])
    longer = trained(on, stack, TrainSpec(batch_size=16, epochs=6), [0, 1, 2, 3])
    assert float(longer.loss.mean()) < 0.7 * float(first.loss.mean())
