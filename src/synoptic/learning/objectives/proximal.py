"""The proximal term that keeps a client near where it started."""

from __future__ import annotations

from collections.abc import Mapping

from tensordict import TensorDict
from torch import Tensor

from synoptic.learning.batches import Batch
from synoptic.learning.fit import Penalty


def proximal(start: TensorDict, mu: float) -> Penalty:
    """``mu / 2 * ||w - w_start||^2`` per client (Li et al. 2020, FedProx, eq. 2), over everything trainable.

    Args:
        start: the adapter every client started from (batch size ``[]``).
        mu: weight; zero gives FedAvg exactly.
    """

    def penalty(worn: Mapping[str, Tensor], batch: Batch) -> Tensor:
        total = batch.weight.new_zeros(len(batch.clients))
        for name, tensor in worn.items():
            if not name.endswith("/scale"):
                total = total + (tensor - start[name]).square().flatten(1).sum(1)
        return mu / 2 * total

    return penalty
