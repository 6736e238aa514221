"""The backbone: tokens of each modality on their own, then all tokens of the task together.

Nothing of it is frozen but the identity: every block adds a low-rank term to the token stream.

Legend: N rows (client-major), T tokens of one modality, S tokens of all, E joint width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from synoptic.core import SynopticError
from synoptic.data.tasks import Modality, Task
from synoptic.models.multitask.blocks import expert_blocks, mome_blocks, mote_blocks
from synoptic.models.multitask.layers import Tensors, attention, bottleneck, normed


@dataclass(frozen=True, eq=False)
class Prefix:
    """What the frozen part of a tower makes of one modality.

    Attributes:
        hidden: hidden states that enter the first adapted block, ``[N, T, D]``.
        mask: which of them are real ``[N, T]`` bool.
    """

    hidden: Tensor
    mask: Tensor


def all_real(hidden_NTD: Tensor) -> Prefix:
    """Hidden states without padding, as pictures have them."""
    return Prefix(hidden_NTD, torch.ones(hidden_NTD.shape[:2], dtype=torch.bool, device=hidden_NTD.device))


@dataclass(frozen=True, eq=False)
class Features:
    """What a head reads.

    Attributes:
        tokens: of all modalities, one after the other, normed ``[N, S, E]``.
        mask: which are real ``[N, S]`` bool.
        spans: where each modality's lie.
    """

    tokens: Tensor
    mask: Tensor
    spans: dict[Modality, slice]

    @property
    def pooled(self) -> Tensor:
        """Mean over the real tokens ``[N, E]``, normed."""
        return normed(_mean(self.tokens, self.mask))

    def latent(self, modality: Modality) -> Tensor:
        """Mean over one modality's real tokens ``[N, E]``: what stands for a (modality, task) pair."""
        span = self.spans[modality]
        return _mean(self.tokens[:, span], self.mask[:, span])


def _mean(tokens_NSE: Tensor, mask_NS: Tensor) -> Tensor:
    weight = mask_NS.to(tokens_NSE.dtype)
    return (tokens_NSE * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)


def features(
    worn: Tensors, task: Task, tokens: Mapping[Modality, Tensor], masks: Mapping[Modality, Tensor], heads: int
) -> Features:
    """Towers' tokens ``[N, T, E]`` of every modality of a task to what its head reads."""
    streams, seen, spans, start = [], [], {}, 0
    for modality in task.modalities:
        x_NTE, mask_NT = normed(tokens[modality]), masks[modality]
        x_NTE = x_NTE + attention(worn, mote_blocks(modality), x_NTE, x_NTE, mask_NT[:, None], heads)
        x_NTE = x_NTE + bottleneck(worn, expert_blocks(task, modality), normed(x_NTE))
        streams.append(x_NTE)
        seen.append(mask_NT)
        spans[modality] = slice(start, start + x_NTE.shape[1])
        start += x_NTE.shape[1]
    x_NSE, mask_NS = torch.cat(streams, dim=1), torch.cat(seen, dim=1)
    own = normed(x_NSE)
    x_NSE = x_NSE + attention(worn, mome_blocks(task), own, own, mask_NS[:, None], heads)
    return Features(normed(x_NSE), mask_NS, spans)


def check_modalities(task: Task, given: Mapping[Modality, Prefix]) -> None:
    """Refuse to go on without something that the task reads.

    Raises:
        SynopticError: what is missing.
    """
    missing = [modality for modality in task.modalities if modality not in given]
    if missing:
        raise SynopticError(f"task '{task.name}' reads {' and '.join(task.modalities)}, and {missing[0]} is missing",
                            "give it, or leave the task out of this evaluation")  # fmt: skip
