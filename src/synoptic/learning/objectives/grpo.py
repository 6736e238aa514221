"""Group-relative policy optimisation (GRPO: Shao et al. 2024, eqs. 3-4), piece by piece, for any kind of policy.

Every function takes the members of a group along the last axis and any axes before it. ``weight`` says how much a
member counts: ones and zeros are a mask, probabilities make sums over all actions exact; left out, all count the same.

Legend: G members of a group (or C, all actions), ... any leading axes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LIMIT = 20.0
"""Log ratios above this are continued along the tangent: e^20 is beyond any use, and e^89 is infinite in float32."""

RESOLUTION = 1e-5
"""Log-probabilities nearer than this are the same: they come from logits of up to 100, of which float32 keeps 6e-6.
Without it a policy would be pulled towards its own rounding errors, which Adam blows up to whole steps."""


def group_mean(values_G: Tensor, weight_G: Tensor | None = None) -> Tensor:
    """Mean over the group ``[...]``; zero where no member counts."""
    if weight_G is None:
        return values_G.mean(-1)
    total = weight_G.sum(-1)
    return torch.where(weight_G > 0, values_G * weight_G, 0.0).sum(-1) / torch.where(total > 0, total, 1.0)


def zero_variance(rewards_G: Tensor, weight_G: Tensor | None = None) -> Tensor:
    """Whether all members that count have the same reward ``[...]``: such a group tells nothing good from bad."""
    if weight_G is None:
        return rewards_G.amax(-1) == rewards_G.amin(-1)
    counts = weight_G > 0
    most = torch.where(counts, rewards_G, -math.inf).amax(-1)
    return most <= torch.where(counts, rewards_G, math.inf).amin(-1)


def group_advantages(rewards_G: Tensor, weight_G: Tensor | None = None, eps: float = 1e-8) -> Tensor:
    """``(r - mean) / (std + eps)`` within each group ``[..., G]``, population std; exactly zero where it is zero.

    Args:
        rewards_G: rewards.
        weight_G: how much a member counts; members that do not count get zero.
        eps: keeps nearly equal rewards finite.
    """
    apart = rewards_G - group_mean(rewards_G, weight_G).unsqueeze(-1)
    std = group_mean(apart.square(), weight_G).sqrt().unsqueeze(-1)
    silent = zero_variance(rewards_G, weight_G).unsqueeze(-1)
    if weight_G is not None:
        silent = silent | (weight_G <= 0)
    return torch.where(silent, 0.0, apart / (std + eps))


def clipped_surrogate(log_p_G: Tensor, log_old_G: Tensor, advantages_G: Tensor, clip: float) -> Tensor:
    """``min(rho A, clip(rho, 1 - clip, 1 + clip) A)``, ``rho = p / p_old``, a gain (Schulman et al. 2017, eq. 7)."""
    ratio = _exp(log_p_G - log_old_G)
    return torch.minimum(ratio * advantages_G, ratio.clamp(1 - clip, 1 + clip) * advantages_G)


def is_clipped(log_p_G: Tensor, log_old_G: Tensor, advantages_G: Tensor, clip: float) -> Tensor:
    """Where the clip takes the gradient away, bool ``[..., G]``."""
    ratio = _exp(log_p_G - log_old_G)
    return ((advantages_G > 0) & (ratio > 1 + clip)) | ((advantages_G < 0) & (ratio < 1 - clip))


def k3(log_p_G: Tensor, log_reference_G: Tensor) -> Tensor:
    """``u - log u - 1``, ``u = reference / p``: unbiased for KL(p, reference) under p and never negative."""
    apart = log_reference_G - log_p_G
    return _exp(apart) - apart - 1


def settled(log_reference: Tensor, log_p: Tensor) -> Tensor:
    """The reference where it can be told from the policy (`RESOLUTION`), the policy's own values where not."""
    own = log_p.detach()
    return torch.where((log_reference - own).abs() <= RESOLUTION, own, log_reference)


def categorical_kl(log_p_C: Tensor, log_q_C: Tensor) -> Tensor:
    """``KL(p, q)`` over all C actions ``[...]``: what `k3` estimates."""
    return (log_p_C.exp() * (log_p_C - log_q_C)).sum(-1)


def entropy(log_p_C: Tensor) -> Tensor:
    """Entropy over all C actions ``[...]``, in nats."""
    return -(log_p_C.exp() * log_p_C).sum(-1)


def mixture(log_p: Tensor, log_q: Tensor, share: float) -> Tensor:
    """Log-probabilities of the mixture ``share * p + (1 - share) * q``."""
    if share in (0.0, 1.0):
        return log_p if share else log_q
    return torch.logaddexp(log_p + math.log(share), log_q + math.log1p(-share))


def _exp(x: Tensor) -> Tensor:
    """``e^x``, beyond `LIMIT` along its tangent, so that neither it nor its gradient is ever infinite."""
    near = x.clamp(max=LIMIT)
    return near.exp() * (1 + (x - near))
