"""Scores of several reward models made one: what each answer of a group is worth to all of them together.

Every rule takes ``scores [K, N, G]`` and ``weights [N, K]``. A row of weights says how much each reward model counts
for a prompt; what it lacks to one is doubt whether any of them knows the prompt, and makes the step of it smaller.

Legend: K clients, N prompts, G answers to each.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from synoptic.learning.answer_policy import Judged
from synoptic.learning.objectives.grpo import group_advantages
from synoptic.learning.objectives.preference import CLIP

Rule = Callable[[Tensor, Tensor], Tensor]
"""(scores ``[K, N, G]``, weights ``[K, N, 1]`` that sum to one) -> rewards ``[N, G]``."""

TINY = 1e-12


def mean_score(scores_KNG: Tensor, shares_KN1: Tensor) -> Tensor:
    """Mixture of rewards: ``R = sum_k w_k r_k``."""
    return (shares_KN1 * scores_KNG).sum(0)


def mean_advantage(scores_KNG: Tensor, shares_KN1: Tensor) -> Tensor:
    """``sum_k w_k A_k`` of each one's own group advantages: no change of scale or origin of any model matters."""
    return (shares_KN1 * group_advantages(scores_KNG)).sum(0)


def weighted_median(scores_KNG: Tensor, shares_KN1: Tensor) -> Tensor:
    """The lowest score that models of half the weight do not exceed; a liar moves it among the others' scores only."""
    ordered, places = scores_KNG.sort(dim=0)
    shares = shares_KN1.expand_as(scores_KNG).gather(0, places)
    reached = (shares.cumsum(0) >= 0.5 - 1e-6).int().argmax(0, keepdim=True)
    return ordered.gather(0, reached)[0]


def least(scores_KNG: Tensor, shares_KN1: Tensor) -> Tensor:
    """The lowest score of any model that counts at all (max-min)."""
    return torch.where(shares_KN1 > 0, scores_KNG, torch.inf).amin(0)


def majority(scores_KNG: Tensor, shares_KN1: Tensor) -> Tensor:
    """The share of the group's other answers that a weighted majority puts below this one, less those above it."""
    above = torch.sign(scores_KNG[..., :, None] - scores_KNG[..., None, :])
    return torch.sign((shares_KN1[..., None] * above).sum(0)).mean(-1)


def spread(scores_KNG: Tensor, shares_KN1: Tensor) -> Tensor:
    """How far models are apart about an answer: their weighted deviation ``[N, G]``."""
    apart = scores_KNG - mean_score(scores_KNG, shares_KN1)
    return (shares_KN1 * apart.square()).sum(0).sqrt()


RULES: dict[str, Rule] = {
    "scores": mean_score, "advantages": mean_advantage, "candidates": mean_advantage, "median": weighted_median,
    "least": least, "vote": majority,
}  # fmt: skip


def fused(scores_KNG: Tensor, weights_NK: Tensor, rule: str = "scores", doubt: float = 0.0) -> Judged:
    """Rewards and advantages of answers that several reward models have scored.

    Args:
        scores_KNG: normalised scores.
        weights_NK: rows that sum to at most one; a prompt whose row is zero moves nothing.
        rule: one of `RULES`.
        doubt: how many deviations between models (`spread`) an answer loses.

    Returns:
        The rewards, and their advantages within each group times what the row of weights sums to.
    """
    weights, scores = weights_NK.T[..., None].float(), scores_KNG.float()
    trust_N1 = weights.sum(0)
    shares = weights / trust_N1.clamp(min=TINY)
    reward = RULES[rule](scores, shares)
    if doubt:
        reward = reward - doubt * spread(scores, shares)
    reward = torch.where(trust_N1 > 0, reward, 0.0)
    # "advantages" are not normalised again: it would undo that models agree or do not. "candidates" (FedGRPO) are.
    advantage = reward if rule == "advantages" else group_advantages(reward)
    return Judged(reward, trust_N1.clamp(max=1) * advantage)


def across_experts(scores_KNG: Tensor, eps: float = 1e-8) -> Tensor:
    """FedGRPO's equation 9 as it stands (arXiv 2602.12014): each answer's scores normalised across experts, then added.

    The sum over experts of what is normalised across experts is zero for every answer, so nothing is learned. Kept for
    the test that shows it; `mean_advantage` normalises across answers instead.
    """
    apart = scores_KNG - scores_KNG.mean(0)
    return (apart / (scores_KNG.std(0, correction=0) + eps)).sum(0)


# -- fewer bits -------------------------------------------------------------------------------------------------


def coded(scores: Tensor, bits: int) -> Tensor:
    """Normalised scores in ``bits`` bits each, packed into bytes ``[B]``: levels at equal distances in -3..3."""
    top = 2**bits - 1
    codes = ((scores.float().clamp(-CLIP, CLIP) + CLIP) / (2 * CLIP) * top).round().to(torch.uint8).flatten()
    places = torch.arange(bits - 1, -1, -1, dtype=torch.uint8)
    found = codes[:, None].bitwise_right_shift(places).bitwise_and(1).flatten()
    found = torch.cat([found, found.new_zeros(-len(found) % 8)]).view(-1, 8)
    packed: Tensor = (found * 2 ** torch.arange(7, -1, -1, dtype=torch.uint8)).sum(1).to(torch.uint8)
    return packed


def decoded(content_B: Tensor, bits: int, count: int) -> Tensor:
    """The ``count`` scores that `coded` packed, float32 ``[count]``."""
    places = torch.arange(7, -1, -1, dtype=torch.uint8)
    found = content_B[:, None].bitwise_right_shift(places).bitwise_and(1).flatten()[: count * bits].view(count, bits)
    codes = (found.int() * 2 ** torch.arange(bits - 1, -1, -1)).sum(1)
    levels: Tensor = codes.float() / (2**bits - 1)
    return levels * (2 * CLIP) - CLIP


def coded_size(count: int, bits: int) -> int:
    """Bytes of ``count`` scores as `coded` packs them."""
    return -(-count * bits // 8)
