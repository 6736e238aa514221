"""The pieces of GRPO against their equations, on groups that hypothesis makes."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from synoptic.learning.objectives.drift import drift
from synoptic.learning.objectives.grpo import (
    RESOLUTION,
    categorical_kl,
    clipped_surrogate,
    entropy,
    group_advantages,
    group_mean,
    is_clipped,
    k3,
    mixture,
    settled,
    zero_variance,
)

REWARDS = st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=7)
LOGITS = st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=6)
LOG_P = st.floats(-30, 0, width=32)


def double(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@given(REWARDS)
def test_advantages_are_rewards_in_standard_deviations_from_their_mean(rewards: list[float]) -> None:
    advantages = group_advantages(double(rewards))
    if len(set(rewards)) == 1:
        assert advantages.tolist() == [0.0] * len(rewards)
        assert bool(zero_variance(double(rewards)))
        return
    assert not bool(zero_variance(double(rewards)))
    std = statistics.pstdev(rewards)
    wanted = [(reward - statistics.fmean(rewards)) / (std + 1e-8) for reward in rewards]
    torch.testing.assert_close(advantages, double(wanted), rtol=1e-6, atol=1e-6)
    assert abs(float(advantages.mean())) < 1e-6


@given(REWARDS, st.floats(-3, 3), st.floats(0.1, 10))
def test_advantages_do_not_see_shift_or_scale(rewards: list[float], shift: float, scale: float) -> None:
    if max(rewards) - min(rewards) > 1e-3:
        moved = group_advantages(double(rewards) * scale + shift)
        torch.testing.assert_close(moved, group_advantages(double(rewards)), rtol=0, atol=1e-3)


def test_one_of_three_right_and_two_of_three() -> None:
    advantages = group_advantages(torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]))
    r = math.sqrt(0.5)
    torch.testing.assert_close(advantages, torch.tensor([[2 * r, -r, -r], [r, r, -2 * r], [0.0, 0.0, 0.0]]))


@given(REWARDS, st.data())
def test_masked_members_are_as_if_they_were_not_there(rewards: list[float], data: st.DataObject) -> None:
    mask = data.draw(st.lists(st.booleans(), min_size=len(rewards), max_size=len(rewards)))
    weight = double([float(one) for one in mask])
    kept = [reward for reward, one in zip(rewards, mask, strict=True) if one]
    advantages = group_advantages(double(rewards), weight)
    assert advantages[weight == 0].tolist() == [0.0] * (len(mask) - sum(mask))
    if kept:
        torch.testing.assert_close(advantages[weight > 0], group_advantages(double(kept)), rtol=1e-9, atol=1e-9)
        assert float(group_mean(double(rewards), weight)) == pytest.approx(statistics.fmean(kept), abs=1e-9)
        assert bool(zero_variance(double(rewards), weight)) == (len(set(kept)) == 1)
    else:
        assert float(group_mean(double(rewards), weight)) == 0
        assert bool(zero_variance(double(rewards), weight))


@given(LOG_P, LOG_P, st.floats(-3, 3), st.floats(0.05, 0.5))
def test_the_surrogate_is_the_lower_of_the_plain_and_the_clipped(new: float, old: float, a: float, clip: float) -> None:
    log_p = double([new]).requires_grad_()
    gain = clipped_surrogate(log_p, double([old]), double([a]), clip)
    ratio = math.exp(min(new - old, 20)) * (1 + max(new - old - 20, 0))
    wanted = min(ratio * a, min(max(ratio, 1 - clip), 1 + clip) * a)
    assert float(gain.detach()) == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    gain.sum().backward()
    assert log_p.grad is not None
    if bool(is_clipped(log_p.detach(), double([old]), double([a]), clip)):
        assert float(log_p.grad) == 0.0
    elif new - old < 20:
        assert float(log_p.grad) == pytest.approx(ratio * a, rel=1e-6, abs=1e-9)


@given(LOGITS, st.integers(0, 1000))
def test_k3_is_unbiased_for_the_divergence_and_never_negative(logits: list[float], seed: int) -> None:
    log_p = double(logits).log_softmax(0)
    log_q = torch.randn(len(logits), generator=torch.Generator().manual_seed(seed), dtype=torch.float64).log_softmax(0)
    estimates = k3(log_p, log_q)
    assert float(estimates.min()) >= 0
    # Summed over all actions with their probabilities, an unbiased estimate is the divergence itself.
    expected = float(group_mean(estimates, log_p.exp()))
    assert expected == pytest.approx(float(categorical_kl(log_p, log_q)), rel=1e-6, abs=1e-9)
    assert k3(log_p, log_p).tolist() == [0.0] * len(logits)


@pytest.mark.parametrize("apart", [100.0, 1000.0])
def test_nothing_is_infinite_however_far_two_policies_are_apart(apart: float) -> None:
    far = torch.tensor([-apart], requires_grad=True)
    pulled = k3(far, torch.zeros(1))
    near = torch.zeros(1, requires_grad=True)
    gain = clipped_surrogate(near, torch.tensor([-apart]), -torch.ones(1), 0.2)
    for term, at in ((pulled, far), (gain, near)):
        (grad,) = torch.autograd.grad(term.sum(), at)
        assert bool(torch.isfinite(term).all())
        assert bool(torch.isfinite(grad).all())
        assert float(grad) < 0, "back to the reference, and away from what was bad"


@given(LOGITS)
def test_entropy_and_divergence_are_those_of_torch(logits: list[float]) -> None:
    policy = torch.distributions.Categorical(logits=double(logits))
    other = torch.distributions.Categorical(logits=double(logits[::-1]))
    assert float(entropy(policy.logits)) == pytest.approx(float(policy.entropy()), abs=1e-9)
    wanted = float(torch.distributions.kl_divergence(policy, other))
    assert float(categorical_kl(policy.logits, other.logits)) == pytest.approx(wanted, abs=1e-9)


@given(LOGITS, st.floats(0, 1))
def test_a_mixture_is_a_mixture_of_probabilities(logits: list[float], share: float) -> None:
    log_p, log_q = double(logits).log_softmax(0), double(logits[::-1]).log_softmax(0)
    wanted = share * log_p.exp() + (1 - share) * log_q.exp()
    torch.testing.assert_close(mixture(log_p, log_q, share).exp(), wanted, rtol=1e-6, atol=1e-9)


def test_all_actions_weighted_by_their_probabilities_give_the_arcsine_gradient() -> None:
    """With rewards 0 and 1, an on-policy group without end climbs ``2 arcsin(sqrt p)`` of the right answer."""
    logits = torch.tensor([0.3, -1.0, 0.8], dtype=torch.float64, requires_grad=True)
    log_p = logits.log_softmax(0)
    weight, rewards = log_p.detach().exp(), double([0.0, 0.0, 1.0])
    gain = group_mean(clipped_surrogate(log_p, log_p.detach(), group_advantages(rewards, weight), 0.2), weight)
    (ours,) = torch.autograd.grad(gain, logits, retain_graph=True)
    (wanted,) = torch.autograd.grad(2 * torch.asin(log_p[2].exp().sqrt()), logits)
    torch.testing.assert_close(ours, wanted, rtol=1e-6, atol=1e-9)


def test_drift_is_the_mean_squared_distance_of_names() -> None:
    original = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    tuned = torch.stack([original, torch.tensor([[0.0, 1.0], [0.0, 1.0]])])
    assert drift(tuned, original).tolist() == [0.0, 1.0]


@given(st.floats(-80, 0), st.floats(-2, 2))
def test_a_reference_nearer_than_float32_can_tell_is_the_policy_itself(log_p: float, apart: float) -> None:
    policy = torch.tensor([log_p], dtype=torch.float64, requires_grad=True)
    found = settled(policy.detach() + apart, policy)
    assert not found.requires_grad
    assert float(found.detach()) == (
        log_p if abs(apart) < RESOLUTION / 2 else pytest.approx(log_p + apart, abs=RESOLUTION)
    )
    near, far = (settled(policy.detach() + change, policy).detach() for change in (0.9 * RESOLUTION, 2 * RESOLUTION))
    assert float(near) == log_p != float(far)
