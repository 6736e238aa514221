"""Rows that a client sets aside for itself, where its data have no validation part."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synoptic.core.seeds import numpy_generator
from synoptic.data.shares import validation_together
from synoptic.federation.cohort import Cohort

Ints = NDArray[np.int64]


class Training(Cohort):
    """The same clients with what they train on; ``held`` is what each sets aside, the same in every round.

    Args:
        whole: the cohort.
        share: of a client's training rows that is set aside if it has no validation rows: at least one picture with
            all rows about it, never the last one.
    """

    def __init__(self, whole: Cohort, share: float) -> None:
        super().__init__(whole.clients, whole.bench, whole.personal, whole.round)
        self._aside = [self._aside_of(client, rows, share)
                       for client, rows in zip(whole.clients, super().positions, strict=True)]  # fmt: skip

    @property
    def positions(self) -> list[Ints]:
        """Each client's training rows without those set aside."""
        return [rows[~aside] for rows, aside in zip(super().positions, self._aside, strict=True)]

    @property
    def held(self) -> list[Ints]:
        """Each client's validation rows, or the training rows that it sets aside; empty where it can spare none."""
        valid = self.bench.data.clients.val
        return [valid(client) if len(valid(client)) else rows[aside]
                for client, rows, aside in zip(self.clients, super().positions, self._aside, strict=True)]  # fmt: skip

    def _aside_of(self, client: int, rows: Ints, share: float) -> NDArray[np.bool_]:
        if len(self.bench.data.clients.val(client)) or not len(rows):
            return np.zeros(len(rows), dtype=bool)
        _, pictures = np.unique(self.bench.data.train.signatures(rows), return_inverse=True)
        rng = numpy_generator(self.bench.seed, "held out", client)
        return validation_together(np.zeros(len(rows), dtype=np.int64), 1, share, rng, pictures.astype(np.int64))
