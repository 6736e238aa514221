"""Learning from preferences: the loss of a reward model, how well it orders pairs, and scores made comparable.

Every function takes any leading axes; what is compared stands at the same place of two tensors.

Legend: n held-out pairs, G texts of one prompt, ... any leading axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from synoptic.core import SynopticError

CLIP = 3.0
"""Deviations from the mean beyond which a normalised score counts no more."""

FLAT = 1e-6
"""A deviation below this share of the scores' own size is rounding: the model tells nothing apart."""


def bradley_terry(preferred: Tensor, rejected: Tensor, centring: float = 0.0) -> Tensor:
    """``-log sigmoid(r+ - r-) + centring * (r+ + r-)^2`` of every pair, in the shape of the scores.

    Bradley & Terry 1952; as the loss of a reward model Ouyang et al. 2022, eq. 1. The second term keeps scores around
    zero, which the first leaves open.
    """
    loss = F.softplus(rejected - preferred)
    return loss + centring * (preferred + rejected).square() if centring else loss


def direct_preference(
    preferred: Tensor, rejected: Tensor, reference_preferred: Tensor, reference_rejected: Tensor, beta: float
) -> Tensor:
    """``-log sigmoid(beta * (log p+ / ref+ - log p- / ref-))`` of every pair, in the shape of the log-probabilities.

    Rafailov et al. 2023 (arXiv 2305.18290), eq. 7: `bradley_terry` with the reward ``beta log p(y | x) / ref(y | x)``,
    so the policy is its own reward model.

    Args:
        preferred: log-probabilities of whole preferred answers under the policy.
        rejected: those of rejected answers.
        reference_preferred: of preferred answers under what the policy is held to.
        reference_rejected: of rejected answers under the same.
        beta: weight of the divergence from the reference in the objective that this loss solves.
    """
    return bradley_terry(beta * (preferred - reference_preferred), beta * (rejected - reference_rejected))


def pair_accuracy(preferred: Tensor, rejected: Tensor) -> Tensor:
    """One where the preferred text scores higher, a half where both score the same, else zero; float32.

    A constant model gets a half on every pair, as it would by tossing a coin.
    """
    return (preferred > rejected).float() + (preferred == rejected).float() / 2


@dataclass(frozen=True)
class Calibration:
    """What held-out pairs say about a reward model; all of the same shape, one entry for each model.

    Attributes:
        mean: of its scores of both texts (mu).
        deviation: population deviation of the same scores (s); zero for a model that tells nothing apart.
        accuracy: share of pairs that it orders rightly (q), see `pair_accuracy`.
        pairs: how many there were.
    """

    mean: Tensor
    deviation: Tensor
    accuracy: Tensor
    pairs: Tensor


def calibration(preferred: Tensor, rejected: Tensor) -> Calibration:
    """Mean, deviation and pair accuracy of scores ``[..., n]`` of held-out pairs.

    Raises:
        SynopticError: no pair, or scores that are not finite.
    """
    scores = torch.cat([preferred, rejected], dim=-1)
    if not scores.shape[-1]:
        raise SynopticError("a reward model cannot be calibrated on no pair", "hold at least one pair out of training")
    check_finite(scores)
    wide = scores.double()
    mean, deviation = wide.mean(-1), wide.std(-1, correction=0)
    deviation = torch.where(deviation > FLAT * wide.abs().amax(-1), deviation, 0.0)
    pairs = torch.full_like(mean, preferred.shape[-1])
    found = (mean, deviation, pair_accuracy(preferred, rejected).double().mean(-1), pairs)
    return Calibration(*(values.float() for values in found))


def normalised(raw: Tensor, by: Calibration, clip: float = CLIP) -> Tensor:
    """``clip((r - mu) / s, -clip, clip)``: scores of different models on one scale; zero where ``s`` is zero.

    Within a group of completions `synoptic.learning.objectives.grpo.group_advantages` takes any scale away.

    Args:
        raw: scores ``[..., N, G]`` or of any other shape that begins as the calibration's.
        by: of the models that gave them ``[...]``.
        clip: bound on both sides.

    Raises:
        SynopticError: scores that are not finite.
    """
    check_finite(raw)
    shape = (*by.mean.shape, *[1] * (raw.ndim - by.mean.ndim))
    mean, deviation = by.mean.view(shape), by.deviation.view(shape)
    apart = (raw - mean) / torch.where(deviation > 0, deviation, 1.0)
    return torch.where(deviation > 0, apart, 0.0).clamp(-clip, clip)


def check_finite(scores: Tensor, whose: str = "a reward model") -> None:
    """Refuse scores that are not numbers.

    Raises:
        SynopticError: how many of them.
    """
    odd = int((~torch.isfinite(scores)).sum())
    if odd:
        raise SynopticError(f"{whose} gave {odd} of {scores.numel()} scores that are not finite",
                            "leave it out, or train it with a lower rate")  # fmt: skip
