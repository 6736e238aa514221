"""Which examples a client sees at which step: a pure function of (seed, round, client), ragged over clients.

Legend: K clients, B rows of the widest batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synoptic.core import SynopticError
from synoptic.core.seeds import numpy_generator
from synoptic.learning.spec import TrainSpec

Steps = list[NDArray[np.int64]]
"""One client's batches, in order; each holds positions in the training table."""


@dataclass(frozen=True)
class Batch:
    """One step of the clients that still train, client-major.

    ``rows [K, B]`` are positions, padded with the client's own first row; ``weight [K, B]`` is one for real rows and
    zero for padding. ``clients [K]`` are places in the cohort.
    """

    clients: NDArray[np.int64]
    rows: NDArray[np.int64]
    weight: Tensor

    def mean(self, values_KB: Tensor) -> Tensor:
        """Per-client mean ``[K]`` over real rows."""
        return (values_KB * self.weight).sum(1) / self.weight.sum(1)


def plan(positions: NDArray[np.int64], spec: TrainSpec, seed: int, round_: int, client: int) -> Steps:
    """The batches of one client in one round: a fresh permutation for each pass, the last batch may be smaller.

    Raises:
        SynopticError: a client without training examples.
    """
    if len(positions) == 0:
        raise SynopticError(f"client {client} has no training example", "give it data or leave it out of the partition")
    steps: Steps = []
    epoch = 0
    while epoch < spec.epochs if spec.steps is None else len(steps) < spec.steps:
        order = numpy_generator(seed, "batches", round_, client, epoch).permutation(positions)
        steps += [order[i : i + spec.batch_size] for i in range(0, len(order), spec.batch_size)]
        epoch += 1
    return steps[: spec.steps]


def zip_steps(plans: Sequence[Steps]) -> Iterator[Batch]:
    """Steps of a cohort side by side. Clients with more steps come first, so those who are done are cut off the end.

    Yields:
        Batches whose ``clients`` are a prefix of `training_order`.
    """
    order = training_order(plans)
    for step in range(max(len(steps) for steps in plans)):
        active = order[: sum(len(steps) > step for steps in plans)]
        yield _batch(active, [plans[client][step] for client in active])


def training_order(plans: Sequence[Steps]) -> NDArray[np.int64]:
    """Places in the cohort, most steps first, ties in cohort order."""
    return np.argsort([-len(steps) for steps in plans], kind="stable")


def _batch(active: NDArray[np.int64], rows: list[NDArray[np.int64]]) -> Batch:
    width = max(len(some) for some in rows)
    padded = np.stack([np.concatenate([some, np.full(width - len(some), some[0])]) for some in rows])
    weight = torch.zeros(len(rows), width)
    for client, some in enumerate(rows):
        weight[client, : len(some)] = 1
    return Batch(active, padded, weight)
