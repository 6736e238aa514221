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
            all rows about it, never the last one; 0 sets nothing aside.
        unusable: rows of the training table that count for nothing ``[rows]``; none of them when left out.
    """

    def __init__(self, whole: Cohort, share: float, unusable: NDArray[np.bool_] | None = None) -> None:
        super().__init__(whole.clients, whole.bench, whole.personal, whole.round)
        self._valid, self._rest = (
            [rows if unusable is None else rows[~unusable[rows]] for rows in part] for part in both_parts(whole)
        )
        self._aside = [self._aside_of(place, share) for place in range(len(self))]

    @property
    def positions(self) -> list[Ints]:
        """Each client's training rows without those set aside."""
        return [rows[~aside] for rows, aside in zip(self._rest, self._aside, strict=True)]

    @property
    def held(self) -> list[Ints]:
        """Each client's validation rows, or the training rows that it sets aside; empty where it can spare none."""
        return [valid if len(valid) else rows[aside]
                for valid, rows, aside in zip(self._valid, self._rest, self._aside, strict=True)]  # fmt: skip

    def _aside_of(self, place: int, share: float) -> NDArray[np.bool_]:
        rows = self._rest[place]
        if not share or len(self._valid[place]) or not len(rows):
            return np.zeros(len(rows), dtype=bool)
        _, pictures = np.unique(self.bench.data.train.signatures(rows), return_inverse=True)
        rng = numpy_generator(self.bench.seed, "held out", self.clients[place])
        return validation_together(np.zeros(len(rows), dtype=np.int64), 1, share, rng, pictures.astype(np.int64))


class Pairs(Training):
    """`Training` on pairs of answers, without those whose answers are the same: nobody can prefer one of them.

    Args:
        whole: the cohort.
        share: see `Training`.
        tied: ``drop`` them, or ``refuse`` clients that have any.

    Raises:
        SynopticError: no rejected answers, pairs to refuse, or a client without a pair to learn from or, where a share
            is set aside, without one to calibrate on.
    """

    def __init__(self, whole: Cohort, share: float, tied: str) -> None:
        table = whole.bench.data.train
        if table.words is None or table.words.rejected is None:
            raise SynopticError(f"there are no pairs of answers to learn from: {table.name} has no rejected ones",
                                "set data.questions.rejected=true or data.wrong=true, or name a column by data.rejected"
                                )  # fmt: skip
        same = ties(table)
        if tied == "refuse":
            _refuse_ties(whole, same)
        super().__init__(whole, share, same)
        needed = {"learn from": self.positions} | ({"calibrate on": self.held} if share else {})
        for what, part in needed.items():
            for client, rows in zip(self.clients, part, strict=True):
                if not len(rows):
                    raise SynopticError(f"client {client} has no pair to {what}", "give it pairs about more pictures")


def both_parts(whole: Cohort) -> tuple[list[Ints], list[Ints]]:
    """Each client's validation rows, and its training rows."""
    return [whole.bench.data.clients.val(client) for client in whole.clients], whole.positions


def _refuse_ties(whole: Cohort, same: NDArray[np.bool_]) -> None:
    for client, *parts in zip(whole.clients, *both_parts(whole), strict=True):
        count = int(same[np.concatenate(parts)].sum())
        if count:
            raise SynopticError(f"{count} of the pairs of client {client} have the same answer twice",
                                "leave them out of the data, or set ties to drop")  # fmt: skip
