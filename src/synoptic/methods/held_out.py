"""Rows that a client sets aside for itself, where its data have no validation part."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synoptic.core import SynopticError
from synoptic.core.seeds import numpy_generator
from synoptic.data.shares import validation_together
from synoptic.federation.cohort import Cohort
from synoptic.learning.preferring import ties

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


class Pairs(Training):
    """`Training` on pairs of answers, without those whose answers are the same: nobody can prefer one of them.

    Args:
        whole: the cohort.
        share: see `Training`.
        tied: ``drop`` them, or ``refuse`` clients that have any.

    Raises:
        SynopticError: no rejected answers, pairs to refuse, or a client without a pair to learn from or to set aside.
    """

    def __init__(self, whole: Cohort, share: float, tied: str) -> None:
        table = whole.bench.data.train
        if table.words is None or table.words.rejected is None:
            raise SynopticError(f"a reward model learns from pairs of answers, and {table.name} has no rejected ones",
                                "set data.questions.rejected=true, or name a column by data.rejected")  # fmt: skip
        super().__init__(whole, share)
        same = ties(table)
        both = super().positions, super().held
        self._mine, self._spared = ([rows[~same[rows]] for rows in part] for part in both)
        for place, client in enumerate(self.clients):
            self._check(client, place, same[np.concatenate([part[place] for part in both])], tied)

    def _check(self, client: int, place: int, same: NDArray[np.bool_], tied: str) -> None:
        if tied == "refuse" and same.any():
            raise SynopticError(f"{int(same.sum())} of the pairs of client {client} have the same answer twice",
                                "leave them out of the data, or set ties to drop")  # fmt: skip
        for rows, what in ((self._mine[place], "learn from"), (self._spared[place], "calibrate on")):
            if not len(rows):
                raise SynopticError(f"client {client} has no pair to {what}", "give it pairs about more pictures")

    @property
    def positions(self) -> list[Ints]:
        """Each client's pairs to learn from."""
        return self._mine

    @property
    def held(self) -> list[Ints]:
        """Each client's pairs that it sets aside."""
        return self._spared
