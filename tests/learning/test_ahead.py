from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from synoptic.learning.batches import Batch
from synoptic.learning.objectives.ahead import after_a_step, moved


def batch(rows: list[list[int]]) -> Batch:
    return Batch(np.arange(len(rows)), np.array(rows), torch.ones(len(rows), len(rows[0])))


def bowl(worn: Any, some: Batch) -> Tensor:
    """f = (w - row)^2 / 2, whose slope is w - row."""
    return (worn["w"] - torch.from_numpy(some.rows).double()).square() / 2


@given(st.integers(1, 3), st.floats(0, 2), st.integers(0, 10_000))
def test_the_slope_is_that_of_the_loss_after_one_step_on_the_other_batch(k: int, rate: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = (batch(rng.integers(-5, 5, (k, 4)).tolist()) for _ in range(2))
    w = torch.randn(k, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()
    losses = after_a_step(bowl, iter([first]), rate)({"w": w}, second)
    (slope,) = torch.autograd.grad(second.mean(losses).sum(), w)
    there = w - rate * (w - torch.from_numpy(first.rows).double().mean(1, keepdim=True))
    expected = there - torch.from_numpy(second.rows).double().mean(1, keepdim=True)
    torch.testing.assert_close(slope, expected)
    torch.testing.assert_close(losses, bowl({"w": there}, second))


def test_without_a_step_it_is_the_loss_itself() -> None:
    w = {"w": torch.tensor([[0.3]], dtype=torch.float64, requires_grad=True)}
    assert torch.equal(after_a_step(bowl, iter([batch([[4]])]), 0.0)(w, batch([[1]])), bowl(w, batch([[1]])))


def test_each_batch_has_one_of_its_own() -> None:
    w = {"w": torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)}
    ahead = after_a_step(bowl, iter([batch([[1]]), batch([[2]])]), 1.0)
    assert [ahead(w, batch([[0]])).item() for _ in range(2)] == [0.5, 2.0]
    with pytest.raises(StopIteration):
        ahead(w, batch([[0]]))


def test_what_is_not_trained_or_has_no_part_in_the_loss_stays() -> None:
    fixed, idle = torch.ones(1), torch.ones(1, 1, requires_grad=True)
    worn = {"w": torch.zeros(1, 1, dtype=torch.float64, requires_grad=True), "x/scale": fixed, "idle": idle}
    there = moved(bowl, worn, batch([[3]]), 0.5)
    assert there["w"].item() == 1.5
    assert there["x/scale"] is fixed
    assert there["idle"] is idle
