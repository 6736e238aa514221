"""Log-probabilities of chosen tokens without ever holding a row of logits for every token of a batch.

Legend: M tokens, D width, V vocabulary, N rows, A tokens of the longest answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

LOGITS = 2**22
"""Logits computed together; their backward pass computes them again, so memory never grows with the batch."""


@dataclass(frozen=True)
class Scores:
    """What a model says to given answers; all ``[N, A]``.

    Attributes:
        log_probability: of each token of the answer, zero on padding.
        best: whether it is the likeliest token there; true on padding.
        counted: which places are tokens of the answer, the end token among them.
    """

    log_probability: Tensor
    best: Tensor
    counted: Tensor

    @property
    def total(self) -> Tensor:
        """Log-probability of each whole answer ``[N]``."""
        return self.log_probability.sum(1)

    @property
    def mean(self) -> Tensor:
        """Mean log-probability of its tokens ``[N]``."""
        return self.total / self.counted.sum(1)

    @property
    def right(self) -> Tensor:
        """Whether greedy decoding gives exactly this answer ``[N]``."""
        return self.best.all(1)


def token_scores(
    head: Callable[[Tensor], Tensor], hidden_MD: Tensor, targets_M: Tensor, vocabulary: int, logits: int = LOGITS
) -> tuple[Tensor, Tensor]:
    """Log-probability ``[M]`` of each target, float32, and whether it is the likeliest ``[M]``.

    Args:
        head: hidden states to logits.
        hidden_MD: what it reads.
        targets_M: token ids.
        vocabulary: how many logits it gives.
        logits: how many are computed together.
    """
    width = max(1, logits // vocabulary)
    if len(hidden_MD) <= width:
        return _scores(head, hidden_MD, targets_M)
    parts = [
        checkpoint(_scores, head, some, targets, use_reentrant=False)
        if hidden_MD.requires_grad
        else _scores(head, some, targets)
        for some, targets in zip(hidden_MD.split(width), targets_M.split(width), strict=True)
    ]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def _scores(head: Callable[[Tensor], Tensor], hidden_MD: Tensor, targets_M: Tensor) -> tuple[Tensor, Tensor]:
    logits_MV = head(hidden_MD).float()
    chosen_M = logits_MV.gather(1, targets_M[:, None])[:, 0]
    return chosen_M - logits_MV.logsumexp(1), logits_MV.argmax(1) == targets_M
