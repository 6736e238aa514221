"""`fit`: train a stack of adapters, K clients in one forward and backward pass over the frozen base.

Legend: K clients, P trainable values per client, B rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.stack import names, pack, trainable_names
from synoptic.learning.batches import Batch, Steps, training_order, zip_steps
from synoptic.learning.optim import clip, optimizer
from synoptic.learning.spec import TrainSpec

Tensors = Mapping[str, Tensor]
Loss = Callable[[Tensors, Batch], Tensor]
"""(named tensors of the K clients that still train, their batch) -> loss of every row, ``[K, B]``."""

Penalty = Callable[[Tensors, Batch], Tensor]
"""(named tensors, batch) -> a term for each client, ``[K]``, added to its mean loss."""


Watch = Callable[[Batch, Tensor], None]
"""(batch, loss of every row ``[K, B]``, detached): told at each step, changes nothing."""


def watched(loss: Loss, watch: Watch) -> Loss:
    """The same loss, told to somebody at each step."""

    def told(worn: Tensors, batch: Batch) -> Tensor:
        losses_KB = loss(worn, batch)
        watch(batch, losses_KB.detach())
        return losses_KB

    return told


@dataclass(frozen=True)
class Fitted:
    """What came of it, in the order of the given stack: adapters, mean loss over steps, last gradient norm, steps."""

    stack: TensorDict
    loss: Tensor
    grad_norm: Tensor
    steps: Tensor


def fit(
    stack: TensorDict, plans: Sequence[Steps], loss: Loss, spec: TrainSpec, lr: float,
    trainable: str | Sequence[str] = "*", penalty: Penalty | None = None,
) -> Fitted:  # fmt: skip
    """Train each client's adapter on its own batches; the same numbers as training the clients one by one.

    Clients may have different amounts of data: whoever is done leaves the stack, and short batches are padded and
    masked. Gradients of clients never mix, because each reads only its own slice.

    Args:
        stack: ``[K]`` adapters to start from; left unchanged.
        plans: K lists of batches, from `synoptic.learning.batches.plan`.
        loss: loss of every row.
        spec: optimiser and clipping; the optimiser starts anew.
        lr: learning rate.
        trainable: name patterns of what may move; the rest is worn but fixed.
        penalty: an extra term for each client, such as FedProx's.
    """
    order = torch.from_numpy(training_order(plans))
    inverse = torch.argsort(order)
    sorted_stack = stack[order]
    chosen = trainable_names(stack, trainable)
    flat_KP, layout = pack(sorted_stack, chosen)
    fixed = {name: sorted_stack[name] for name in names(stack) if name not in chosen}
    move = optimizer(flat_KP, spec)
    total, norm, steps = (torch.zeros(len(plans)) for _ in range(3))
    for batch in zip_steps(plans):
        clients = len(batch.clients)
        theta = flat_KP[:clients].detach().requires_grad_()
        worn = {**layout.unpack(theta), **{name: tensor[:clients] for name, tensor in fixed.items()}}
        each = batch.mean(loss(worn, batch))
        total[:clients] += each.detach()
        objective = each.sum() if penalty is None else (each + penalty(worn, batch)).sum()
        (grad,) = torch.autograd.grad(objective, theta)
        grad, norm[:clients] = clip(grad, spec.clip_norm)
        move.step(grad, lr)
        steps[:clients] += 1
    trained = TensorDict({**layout.unpack(flat_KP), **fixed}, batch_size=[len(plans)])
    return Fitted(trained[inverse], (total / steps)[inverse], norm[inverse], steps[inverse])
