from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from synoptic.learning.critic import Critic


def some(seed: int, count: int, width: int) -> tuple[Tensor, Tensor]:
    """Features with a one behind, and noisy scores."""
    rng = np.random.default_rng(seed)
    phi = np.concatenate([rng.normal(size=(count, width)), np.ones((count, 1))], axis=1)
    return torch.from_numpy(phi), torch.from_numpy(phi @ rng.normal(size=width + 1) + 0.3 * rng.normal(size=count))


def reference(phi: Tensor, scores: Tensor, at: Tensor, prior: float) -> tuple[np.ndarray, np.ndarray]:
    """The same in a few lines of numpy: predicted means and how far these may be off."""
    P, r, x = phi.numpy(), scores.numpy(), at.numpy()
    A = prior * np.eye(P.shape[1]) + P.T @ P
    m = np.linalg.solve(A, P.T @ r)
    noise = (1 + (r @ r - m @ A @ m) / 2) / (1 + len(r) / 2)
    return x @ m, np.sqrt(noise * np.einsum("ij,jk,ik->i", x, np.linalg.inv(A), x))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.integers(0, 30), st.integers(1, 6), st.floats(0.1, 10))
def test_predictions_are_the_equation_whatever_the_order(seed: int, count: int, width: int, prior: float) -> None:
    phi, scores = some(seed, count + 5, width)
    phi, scores, at = phi[:count], scores[:count], phi[count:]
    critic = Critic.fresh(3, width + 1, prior)
    for place in torch.randperm(count, generator=torch.Generator().manual_seed(seed)).split(4):
        critic = critic.seen(1, phi[place], scores[place])
    mean, deviation = reference(phi, scores, at, prior)
    np.testing.assert_allclose(critic.mean(1, at).numpy(), mean, atol=1e-8)
    np.testing.assert_allclose(critic.deviation(1, at).numpy(), deviation, atol=1e-8)
    fresh = Critic.fresh(3, width + 1, prior)
    assert torch.equal(critic.precision[[0, 2]], fresh.precision[[0, 2]]), "the others' are left alone"
    again = Critic.unpacked(critic.packed())
    assert all(torch.equal(getattr(again, name), value) for name, value in vars(critic).items())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.floats(0.05, 2))
def test_what_is_not_asked_is_sure_enough_and_what_is_asked_was_not(seed: int, threshold: float) -> None:
    """With the scores of those asked before it, an answer's deviation is above the threshold only if it is asked."""
    phi, scores = some(seed, 24, 4)
    critic = Critic.fresh(1, 5, 1.0).seen(0, phi[:8], scores[:8])
    asked = critic.unsure(0, phi[8:], threshold)
    noise = critic.noise(0)
    for place, row in enumerate(phi[8:]):
        before = phi[8:][:place][asked[:place]]
        spread = row @ torch.linalg.solve(critic.precision[0] + before.T @ before, row)
        assert bool(asked[place]) == bool((noise * spread).sqrt() > threshold)


def test_a_threshold_of_zero_asks_everything() -> None:
    phi, scores = some(0, 40, 3)
    phi = torch.cat([phi, phi, torch.zeros(2, 4).double()])
    assert Critic.fresh(1, 4, 1.0).seen(0, phi[:40], scores).unsure(0, phi, 0.0).all()


def test_the_same_answer_is_asked_about_once() -> None:
    phi, _ = some(1, 1, 3)
    asked = Critic.fresh(1, 4, 1.0).unsure(0, phi.repeat(5, 1) * 10, 1.1)
    assert asked.tolist() == [True, False, False, False, False]


def test_scores_that_are_linear_are_soon_known() -> None:
    phi, _ = some(2, 400, 10)
    scores = phi @ torch.linspace(-1, 1, 11).double()
    critic, asked = Critic.fresh(1, 11, 1.0), 0
    for place in torch.arange(400).split(40):
        chosen = critic.unsure(0, phi[place], 0.2)
        asked += int(chosen.sum())
        critic = critic.seen(0, phi[place][chosen], scores[place][chosen])
    assert asked < 120
    assert (critic.mean(0, phi) - scores).abs().max() < 0.2
