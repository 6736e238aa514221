"""Log-probabilities of chosen tokens without ever holding a row of logits for every token of a batch.

Legend: M tokens, D width, V vocabulary, N rows, A tokens of the longest answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

LOGITS = 2**22
"""Logits computed together: what memory grows with, whatever the batch."""


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
        head: hidden states to logits, row by row; frozen.
        hidden_MD: what it reads.
        targets_M: token ids.
        vocabulary: how many logits it gives.
        logits: how many are computed together.

    Raises:
        ValueError: tokens are computed in parts, and the head has something to learn.
    """
    width = max(1, logits // vocabulary)
    if len(hidden_MD) <= width:
        return _scores(head, hidden_MD, targets_M)
    if torch.is_grad_enabled() and hidden_MD.requires_grad:
        if head(hidden_MD[:1].detach()).requires_grad:
            raise ValueError("only hidden states can learn from log-probabilities, and the head has something to learn")
        found: tuple[Tensor, Tensor] = _InParts.apply(hidden_MD, targets_M, head, width)  # type: ignore[no-untyped-call]
        return found
    parts = [_scores(head, some, targets)
             for some, targets in zip(hidden_MD.split(width), targets_M.split(width), strict=True)]  # fmt: skip
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


class _InParts(torch.autograd.Function):
    """Gradients of each part beside its values, so that no logits are kept and none are computed again.

    A token's log-probability is a function of its own hidden state alone: what the backward pass brings only scales it.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden_MD: Tensor, targets_M: Tensor, head: Callable[[Tensor], Tensor], width: int
    ) -> tuple[Tensor, Tensor]:
        parts = []
        for some, targets in zip(hidden_MD.split(width), targets_M.split(width), strict=True):
            with torch.enable_grad():
                read = some.detach().requires_grad_()
                logp, best = _scores(head, read, targets)
                (gradient,) = torch.autograd.grad(logp.sum(), read)
            parts.append((logp.detach(), best, gradient))
        logp_M, best_M, gradient_MD = (torch.cat(some) for some in zip(*parts, strict=True))
        ctx.mark_non_differentiable(best_M)
        ctx.save_for_backward(gradient_MD)
        return logp_M, best_M

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, logp_M: Tensor, best_M: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient_MD,) = ctx.saved_tensors
        return (gradient_MD * logp_M[:, None]).to(gradient_MD.dtype), None, None, None


def _scores(head: Callable[[Tensor], Tensor], hidden_MD: Tensor, targets_M: Tensor) -> tuple[Tensor, Tensor]:
    logits_MV = head(hidden_MD).float()
    chosen_M = logits_MV.gather(1, targets_M[:, None])[:, 0]
    return chosen_M - logits_MV.logsumexp(1), logits_MV.argmax(1) == targets_M
