"""The loss after one more step: what an adapter is trained for that somebody will tune.

Legend: K clients that still train, B rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from synoptic.learning.batches import Batch
from synoptic.learning.fit import Loss, Tensors


def after_a_step(loss: Loss, others: Iterator[Batch], rate: float) -> Loss:
    """``f(w - rate * grad f(w, D), D')`` without second derivatives (Per-FedAvg, Fallah et al. 2020, FO variant).

    The gradient in w is that of f at the moved point: ``d(w - rate g) / dw`` is taken for the identity.

    Args:
        loss: f, of every row.
        others: the batches D, one for each batch D' and of the same clients.
        rate: of the step; at 0 it is the loss itself.

    Returns:
        Loss of every row of D' ``[K, B]``.
    """

    def ahead(worn: Tensors, batch: Batch) -> Tensor:
        return loss(moved(loss, worn, next(others), rate), batch)

    return ahead


def moved(loss: Loss, worn: Tensors, batch: Batch, rate: float) -> dict[str, Tensor]:
    """Every client's tensors after one plain gradient step on a batch; what is not trained stays."""
    here = {name: tensor.detach().requires_grad_(tensor.requires_grad) for name, tensor in worn.items()}
    trained = [name for name, tensor in here.items() if tensor.requires_grad]
    total = batch.mean(loss(here, batch)).sum()
    # Blocks of a task that has no row in this batch have no gradient.
    slopes = torch.autograd.grad(total, [here[name] for name in trained], allow_unused=True)
    steps = {name: rate * slope for name, slope in zip(trained, slopes, strict=True) if slope is not None}
    return {name: tensor - steps[name] if name in steps else tensor for name, tensor in worn.items()}
