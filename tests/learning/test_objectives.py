from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from synoptic.adapters.stack import adapter
from synoptic.learning.batches import Batch
from synoptic.learning.objectives.contrastive import classification_loss, correct
from synoptic.learning.objectives.proximal import proximal


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 6), st.integers(0, 10_000))
def test_classification_loss_is_minus_the_log_probability_of_the_label(k: int, b: int, c: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(k, b, c, generator=rng, dtype=torch.float64) * 5
    labels = torch.randint(c, (k, b), generator=rng)
    loss = classification_loss(logits, labels)
    for i in range(k):
        for j in range(b):
            powers = [math.exp(value) for value in logits[i, j].tolist()]
            wanted = -math.log(powers[labels[i, j]] / sum(powers))
            assert math.isclose(float(loss[i, j]), wanted, rel_tol=1e-9, abs_tol=1e-9)


def test_correct_takes_the_first_of_equals() -> None:
    logits = torch.tensor([[[1.0, 1.0], [0.0, 2.0]]])
    assert correct(logits, torch.tensor([[0, 1]])).tolist() == [[True, True]]
    assert correct(logits, torch.tensor([[1, 0]])).tolist() == [[False, False]]


def test_the_proximal_term_is_half_mu_times_the_squared_distance_without_scales() -> None:
    start = adapter({"v/lora/x/A": torch.ones(2, 3), "v/lora/x/scale": torch.tensor(2.0)})
    worn = {"v/lora/x/A": torch.stack([torch.ones(2, 3), torch.full((2, 3), 3.0)]), "v/lora/x/scale": torch.zeros(2)}
    batch = Batch(np.arange(2), np.zeros((2, 1), dtype=np.int64), torch.ones(2, 1))
    assert proximal(start, 0.5)(worn, batch).tolist() == [0.0, 0.25 * 6 * 4.0]
    assert proximal(start, 0.0)(worn, batch).tolist() == [0.0, 0.0]


def test_the_proximal_gradient_is_mu_times_the_difference() -> None:
    start = adapter({"h": torch.tensor([1.0, 2.0])})
    here = torch.tensor([[4.0, 2.0]], requires_grad=True)
    batch = Batch(np.arange(1), np.zeros((1, 1), dtype=np.int64), torch.ones(1, 1))
    proximal(start, 0.1)({"h": here}, batch).sum().backward()
    torch.testing.assert_close(here.grad, torch.tensor([[0.3, 0.0]]))
