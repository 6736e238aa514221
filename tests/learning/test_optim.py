from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from synoptic.learning.optim import clip, optimizer
from synoptic.learning.spec import TrainSpec

Alone = Callable[[list[torch.Tensor], float], Any]
CASES: dict[str, tuple[TrainSpec, Alone]] = {
    "sgd": (TrainSpec(optimizer="sgd"), lambda p, lr: torch.optim.SGD(p, lr)),
    "momentum": (TrainSpec(optimizer="sgd", momentum=0.9), lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9)),
    "sgd decay": (
        TrainSpec(optimizer="sgd", momentum=0.5, weight_decay=0.1),
        lambda p, lr: torch.optim.SGD(p, lr, momentum=0.5, weight_decay=0.1),
    ),
    "adamw": (TrainSpec(), lambda p, lr: torch.optim.AdamW(p, lr, weight_decay=0.0)),
    "adamw decay": (
        TrainSpec(weight_decay=0.05, betas=(0.8, 0.95), eps=1e-6),
        lambda p, lr: torch.optim.AdamW(p, lr, weight_decay=0.05, betas=(0.8, 0.95), eps=1e-6),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_row_moves_as_it_would_alone_in_torch_optim(case: str) -> None:
    spec, alone = CASES[case]
    steps = [5, 3, 3, 1]  # clients with more steps come first
    rng = torch.Generator().manual_seed(0)
    start = torch.randn(4, 7, generator=rng)
    grads = torch.randn(5, 4, 7, generator=rng)
    flat = start.clone()
    move = optimizer(flat, spec)
    for t in range(5):
        active = sum(count > t for count in steps)
        move.step(grads[t, :active], 0.1)
    for client, count in enumerate(steps):
        row = start[client].clone().requires_grad_()
        step = alone([row], 0.1)
        for t in range(count):
            row.grad = grads[t, client].clone()
            step.step()
        assert torch.equal(flat[client], row.detach()), (case, client)


@pytest.mark.parametrize("case", CASES)
def test_a_client_that_has_finished_does_not_move(case: str) -> None:
    flat = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    move = optimizer(flat, CASES[case][0])
    move.step(torch.ones(3, 4), 0.1)
    rest = flat[1:].clone()
    move.step(torch.ones(1, 4), 0.1)
    assert torch.equal(flat[1:], rest)


@given(st.integers(1, 5), st.floats(0.01, 20.0), st.integers(0, 10_000))
def test_clipping_is_torchs_for_each_client(clients: int, bound: float, seed: int) -> None:
    grad = torch.randn(clients, 6, generator=torch.Generator().manual_seed(seed)) * 3
    clipped, norms = clip(grad, bound)
    for client in range(clients):
        row = torch.zeros(6, requires_grad=True)
        row.grad = grad[client].clone()
        norm = torch.nn.utils.clip_grad_norm_([row], bound)
        torch.testing.assert_close(clipped[client], row.grad, rtol=1e-6, atol=0)
        torch.testing.assert_close(norms[client], norm, rtol=1e-6, atol=0)


def test_without_a_bound_gradients_stay_and_norms_are_still_told() -> None:
    grad = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    clipped, norms = clip(grad, None)
    assert clipped is grad
    assert norms.tolist() == [5.0, 0.0]
