"""What every pre-training shares: the schedule, the loop over batches, and one thread for reproducible floats."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

Progress = Callable[[int, float], None]


class Schedule(Protocol):
    """Settings of a training: AdamW over ``steps`` with linear warm-up and a cosine."""

    @property
    def steps(self) -> int: ...
    @property
    def warmup(self) -> int: ...
    @property
    def lr(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...


@dataclass(frozen=True)
class Phase:
    """A schedule of its own, for a training in several parts."""

    steps: int
    warmup: int
    lr: float
    weight_decay: float


def rate(spec: Schedule, step: int) -> float:
    """Linear warm-up, then cosine to zero."""
    if step < spec.warmup:
        return spec.lr * (step + 1) / spec.warmup
    return spec.lr * 0.5 * (1 + math.cos(math.pi * (step - spec.warmup) / max(spec.steps - spec.warmup, 1)))


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread inside the block: the count changes float results, and a checkpoint must not depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def optimise(
    model: nn.Module,
    spec: Schedule,
    batches: Iterable[Any],
    loss: Callable[[Any], Tensor],
    progress: Progress | None,
    after: Callable[[], None] | None = None,
) -> None:
    """Train all of a model's weights, one step per batch.

    Args:
        model: what is trained, in place.
        spec: the schedule.
        batches: as many as there are steps.
        loss: of one batch, a scalar.
        progress: called with (step, loss) after every step.
        after: called after every step, for a constraint on weights; without gradient.

    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=spec.lr, weight_decay=spec.weight_decay, betas=(0.9, 0.98))
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = rate(spec, step)
        value = loss(batch)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if after is not None:
            with torch.no_grad():
                after()
        if progress is not None:
            progress(step, float(value.detach()))
