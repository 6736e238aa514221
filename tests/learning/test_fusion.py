from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from synoptic.core.seeds import generator
from synoptic.learning.fusion import RULES, across_experts, coded, coded_size, decoded, fused, spread
from synoptic.learning.objectives.grpo import group_advantages
from synoptic.learning.objectives.preference import CLIP

SIZES = {
    "clients": st.integers(1, 5),
    "rows": st.integers(1, 4),
    "group": st.integers(2, 6),
    "seed": st.integers(0, 99),
}


def drawn(clients: int, rows: int, group: int, seed: int) -> tuple[Tensor, Tensor]:
    rng = generator(seed, "scores")
    scores = torch.randn(clients, rows, group, generator=rng)
    return scores, torch.rand(rows, clients, generator=rng, dtype=torch.float64).softmax(1)


@given(**SIZES)
@settings(max_examples=30, deadline=None)
def test_mixing_is_the_equation(clients: int, rows: int, group: int, seed: int) -> None:
    """R_i = sum_k w_k r_ki, then (R - mean) / std over the group (spec 4.3)."""
    scores, weights = drawn(clients, rows, group, seed)
    found = fused(scores, weights)
    for n in range(rows):
        mixture = sum(float(weights[n, k]) * scores[k, n] for k in range(clients))
        torch.testing.assert_close(found.reward[n], mixture, rtol=0, atol=1e-5)
        apart = (mixture - mixture.mean()) / mixture.std(correction=0)
        torch.testing.assert_close(found.advantage[n], apart, rtol=0, atol=1e-3)


@given(**SIZES, scale=st.floats(0.1, 50), origin=st.floats(-20, 20))
@settings(max_examples=30, deadline=None)
def test_mixed_advantages_know_no_scale_and_no_origin(
    clients: int, rows: int, group: int, seed: int, scale: float, origin: float
) -> None:
    """M8: an affine change of any client's raw scores leaves every advantage as it is."""
    scores, weights = drawn(clients, rows, group, seed)
    changed = scores.clone().double()
    changed[0] = scale * changed[0] + origin
    before, after = (fused(some, weights, "advantages") for some in (scores, changed.float()))
    torch.testing.assert_close(before.advantage, after.advantage, rtol=0, atol=2e-3)


@pytest.mark.parametrize("rule", RULES)
@given(**SIZES)
@settings(max_examples=20, deadline=None)
def test_clients_without_weight_change_nothing(rule: str, clients: int, rows: int, group: int, seed: int) -> None:
    scores, weights = drawn(clients, rows, group, seed)
    more = torch.cat([scores, 100 * torch.ones(1, rows, group)])
    none = torch.cat([weights, torch.zeros(rows, 1, dtype=torch.float64)], dim=1)
    before, after = fused(scores, weights, rule), fused(more, none, rule)
    torch.testing.assert_close(before.reward, after.reward)
    torch.testing.assert_close(before.advantage, after.advantage)


@pytest.mark.parametrize("rule", RULES)
@given(**SIZES)
@settings(max_examples=20, deadline=None)
def test_the_order_of_clients_and_of_answers_does_not_matter(
    rule: str, clients: int, rows: int, group: int, seed: int
) -> None:
    scores, weights = drawn(clients, rows, group, seed)
    rng = generator(seed, "order")
    who, what = torch.randperm(clients, generator=rng), torch.randperm(group, generator=rng)
    before, after = fused(scores, weights, rule), fused(scores[who][..., what], weights[:, who], rule)
    torch.testing.assert_close(before.reward[:, what], after.reward, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_one_client_alone_is_grpo_on_its_scores(rule: str) -> None:
    scores, weights = drawn(1, 3, 5, 0)
    found = fused(scores, weights, rule)
    if rule == "vote":
        ranks = scores[0].argsort(1).argsort(1).float()
        torch.testing.assert_close(found.reward.argsort(1), ranks.argsort(1))
    else:
        torch.testing.assert_close(found.advantage, group_advantages(scores[0]))


def test_doubt_that_anybody_knows_makes_steps_smaller_and_nobody_makes_none() -> None:
    scores, weights = drawn(3, 4, 5, 0)
    whole, half = fused(scores, weights), fused(scores, weights / 2)
    torch.testing.assert_close(half.reward, whole.reward)
    torch.testing.assert_close(half.advantage, whole.advantage / 2)
    nobody = fused(scores, torch.zeros_like(weights))
    assert not nobody.reward.any() and not nobody.advantage.any()


def test_a_liar_moves_the_mean_as_far_as_it_likes_and_the_median_only_among_the_others() -> None:
    scores, _ = drawn(5, 2, 4, 1)
    weights = torch.full((2, 5), 0.2, dtype=torch.float64)
    lying = scores.clone()
    lying[0] = 1000.0
    honest = scores[1:]
    assert (fused(lying, weights).reward > 100).all()
    reward = fused(lying, weights, "median").reward
    assert ((reward >= honest.amin(0)) & (reward <= honest.amax(0))).all()


def test_the_least_is_the_least_and_the_vote_is_a_vote() -> None:
    scores = torch.tensor([[[0.0, 1.0, 2.0]], [[0.0, 2.0, 1.0]], [[5.0, 4.0, 3.0]]])
    weights = torch.full((1, 3), 1 / 3, dtype=torch.float64)
    assert fused(scores, weights, "least").reward.tolist() == [[0.0, 1.0, 1.0]]
    # 1 before 0 (2:1), 2 before 0 (2:1), 1 before 2 (2:1).
    assert fused(scores, weights, "vote").reward[0].argsort().tolist() == [0, 2, 1]


def test_disagreement_costs_what_it_says() -> None:
    scores, weights = drawn(3, 2, 4, 2)
    shares = weights.T[..., None].float()
    plain, careful = fused(scores, weights), fused(scores, weights, doubt=0.5)
    torch.testing.assert_close(careful.reward, plain.reward - 0.5 * spread(scores, shares))
    same = scores[:1].expand(3, -1, -1)
    assert spread(same, shares).abs().max() < 1e-5


def test_equation_9_as_it_stands_teaches_nothing() -> None:
    """FedGRPO normalises each answer across experts; the terms then add up to zero for every answer."""
    scores, _ = drawn(4, 3, 6, 3)
    assert across_experts(scores).abs().max() < 1e-4
    two = torch.tensor([[[0.3, 1.0]], [[0.3, -1.0]]])
    assert across_experts(two).tolist() == [[0.0, 0.0]]


@given(bits=st.integers(1, 8), count=st.integers(1, 40), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_fewer_bits_are_off_by_half_a_level_at_most(bits: int, count: int, seed: int) -> None:
    scores = 2 * torch.randn(count, generator=generator(seed, "scores"))
    sent = coded(scores, bits)
    assert sent.dtype == torch.uint8 and len(sent) == coded_size(count, bits) == -(-count * bits // 8)
    back = decoded(sent, bits, count)
    level = 2 * CLIP / (2**bits - 1)
    assert (back - scores.clamp(-CLIP, CLIP)).abs().max() <= level / 2 + 1e-5
