"""Training one adapter in many small calls, with an optimiser that goes on where the last call stopped.

`synoptic.learning.fit` starts its optimiser anew, as federated averaging does. A server that learns from one rollout
after the other would lose Adam's moments each time; here they come in and go out as tensors.

Legend: P values of an adapter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict

from synoptic.adapters.stack import expand, leaves, names, pack, trainable_names
from synoptic.learning.batches import zip_steps
from synoptic.learning.fit import Loss
from synoptic.learning.optim import clip, moments_of, optimizer
from synoptic.learning.spec import TrainSpec


@dataclass(frozen=True)
class Descended:
    """The adapter after the steps, the optimiser's moments, mean loss and mean gradient norm over the steps."""

    adapter: TensorDict
    moments: TensorDict
    loss: float
    grad_norm: float


def descend(
    start: TensorDict, moments: TensorDict, steps: Iterable[NDArray[np.int64]], loss: Loss, spec: TrainSpec, lr: float,
    trainable: str | Sequence[str] = "*",
) -> Descended:  # fmt: skip
    """A few steps of one adapter: what `synoptic.learning.fit.fit` does with K = 1, and goes on doing.

    Args:
        start: the adapter (batch size ``[]``); left unchanged.
        moments: those of the last call, left unchanged; `synoptic.learning.optim.no_moments` at the beginning.
        steps: the rows of each step, as ``loss`` knows them.
        loss: loss of every row.
        spec: optimiser and clipping.
        lr: learning rate.
        trainable: name patterns of what may move; the rest is worn but fixed.
    """
    chosen = trainable_names(start, trainable)
    flat_1P, layout = pack(expand(start, 1), chosen)
    fixed = {name: tensor[None] for name, tensor in leaves(start).items() if name not in chosen}
    move = optimizer(flat_1P, spec, moments)
    losses, norms = [], []
    for batch in zip_steps([list(steps)]):
        theta = flat_1P.detach().requires_grad_()
        value = batch.mean(loss({**layout.unpack(theta), **fixed}, batch))
        (grad,) = torch.autograd.grad(value.sum(), theta)
        grad, norm = clip(grad, spec.clip_norm)
        move.step(grad, lr)
        losses.append(float(value.detach()))
        norms.append(float(norm))
    moved = {**layout.unpack(flat_1P), **fixed}
    trained = TensorDict({name: moved[name][0] for name in names(start)}, batch_size=[])
    return Descended(trained, moments_of(move), float(np.mean(losses)), float(np.mean(norms)))
