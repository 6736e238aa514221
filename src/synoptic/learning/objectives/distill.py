"""Distillation from a teacher, and features of different tasks kept apart.

A row's distillation is a mean over what the row has many of (words of an answer, pixels of a picture), so that its
weight means the same for every task. The official code of TAP sums over words, padding included, and takes a softmax
over columns of pixels (arXiv 2509.26524; there T^2 KL with T = 1).

Legend: K clients, B rows, A tokens of the longest answer, V logits, G groups, E width, ... any leading axes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from synoptic.core import SynopticError


def distillation(student_V: Tensor, teacher_V: Tensor, temperature: float = 1.0) -> Tensor:
    """``T^2 KL(softmax(teacher / T), softmax(student / T))`` over the last axis, ``[...]`` (Hinton et al. 2015).

    No gradient flows into the teacher. The factor keeps gradients as large as at T = 1.

    Args:
        student_V: logits ``[..., V]``.
        teacher_V: logits of the same shape.
        temperature: T, above zero.

    Raises:
        SynopticError: a temperature that is not above zero.
    """
    if not temperature > 0:
        raise SynopticError(f"a distillation temperature of {temperature} softens nothing", "use one above zero")
    log_student = (student_V / temperature).log_softmax(-1)
    log_teacher = (teacher_V.detach() / temperature).log_softmax(-1)
    divergence: Tensor = F.kl_div(log_student, log_teacher, reduction="none", log_target=True)
    # A word that is impossible for both adds nothing, where the difference of two infinities would be NaN.
    return temperature**2 * torch.where(log_teacher.exp() > 0, divergence, 0.0).sum(-1)


def text_distillation(
    student_AV: Tensor, teacher_AV: Tensor, counted_A: Tensor, temperature: float = 1.0
) -> Tensor:  # fmt: skip
    """Mean of `distillation` over a row's counted words, ``[...]``; zero for a row without any.

    Args:
        student_AV: logits ``[..., A, V]``.
        teacher_AV: logits of the same shape.
        counted_A: which places are words of the answer ``[..., A]`` bool.
        temperature: T.
    """
    each_A = torch.where(counted_A, distillation(student_AV, teacher_AV, temperature), 0.0)
    return each_A.sum(-1) / counted_A.sum(-1).clamp(min=1)


def pixel_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of each row's pixels, ``[K, B]`` from ``[K, B, 3, H, W]``.

    It is twice the divergence of normal distributions of variance one around the pixels, for which T^2 KL is the same
    at any temperature. No gradient flows into the teacher.
    """
    return (student - teacher.detach()).square().flatten(2).mean(-1)


def orthogonality(groups: Sequence[Tensor], weights: Sequence[Tensor] | None = None) -> Tensor:
    """Mean squared cosine between features of different groups, ``[K]`` in 0..1 (DisentAFL's term, as TAP's code has
    it: 0.5 times this is added to the loss).

    Every pair of groups counts the same, however many rows they have; with fewer than two groups it is zero.

    Args:
        groups: mean features of each (modality, task) pair, ``[K, B_g, E]`` each.
        weights: ``[K, B_g]`` each, one for real rows and zero for padding; left out, all rows are real.

    Raises:
        SynopticError: no group at all.
    """
    if not groups:
        raise SynopticError("there are no features to keep apart", "give one tensor for each (modality, task) pair")
    units = [F.normalize(group, dim=-1) for group in groups]
    real = [group.new_ones(group.shape[:2]) for group in groups] if weights is None else weights
    total, pairs = groups[0].new_zeros(len(groups[0])), groups[0].new_zeros(len(groups[0]))
    for i in range(len(units)):
        for j in range(i + 1, len(units)):
            weight_KBC = real[i][:, :, None] * real[j][:, None]
            count_K = weight_KBC.sum((1, 2))
            square_KBC = torch.bmm(units[i], units[j].mT).square()
            total = total + (square_KBC * weight_KBC).sum((1, 2)) / count_K.clamp(min=1)
            pairs = pairs + (count_K > 0)
    return total / pairs.clamp(min=1)
