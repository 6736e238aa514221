"""Each task's mean loss, while a model trains or after it: what is compared when a personal model may be replaced.

Legend: K clients, B rows of a batch, O tasks of these clients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from synoptic.learning.batches import Batch
from synoptic.learning.replacement import Held
from synoptic.learning.task_rows import TaskRows


@dataclass(frozen=True, eq=False)
class Known:
    """Mean losses ``[K, O]`` and where they rest on any row at all ``[K, O]`` bool; elsewhere they are zero."""

    mean: Tensor
    there: Tensor

    def after(self, before: Known) -> Known:
        """These where they are known, else those of before."""
        return Known(torch.where(self.there, self.mean, before.mean), self.there | before.there)


class Tally:
    """Each task's mean loss over all rows that were trained on; what `synoptic.federation.cohort.Cohort.fit` tells.

    Args:
        rows: of the training table.
        names: the O tasks.
        clients: K.
    """

    def __init__(self, rows: TaskRows, names: Sequence[str], clients: int) -> None:
        self._rows = rows
        self._places = [list(rows.model.tasks).index(name) for name in names]
        self._sum, self._count = (torch.zeros(clients, len(names), dtype=torch.float64) for _ in range(2))

    def __call__(self, batch: Batch, losses_KB: Tensor) -> None:
        """Count one step."""
        tasks_KB, clients = torch.from_numpy(self._rows.task(batch.rows)), torch.from_numpy(batch.clients)
        for column, place in enumerate(self._places):
            mine_KB = (tasks_KB == place) & (batch.weight > 0)
            self._sum[clients, column] += torch.where(mine_KB, losses_KB.double(), 0.0).sum(1)
            self._count[clients, column] += mine_KB.sum(1)

    @property
    def known(self) -> Known:
        """What there is so far."""
        return Known((self._sum / self._count.clamp(min=1)).float(), self._count > 0)


def known_of(held: Mapping[str, Held], names: Sequence[str]) -> Known:
    """The means of measured losses; tasks that nobody has rows of are not known."""
    (clients,) = {len(one.weight) for one in held.values()}
    none = Held(torch.zeros(clients, 1), torch.zeros(clients, 1))
    found = [held.get(name, none) for name in names]
    return Known(torch.stack([one.mean for one in found], 1), torch.stack([one.count > 0 for one in found], 1))
