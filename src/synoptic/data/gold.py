"""The truth behind generated preferences: what pictures show and who likes what, so that any text can be judged.

It is for measuring. No client and no objective may look at it (`tests/data/test_gold.py`).

Legend: K tastes, n texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from synoptic.core.errors import SynopticError
from synoptic.core.files import digest
from synoptic.data.tastes import Features, Taste, features, judged

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

NOBODY = -1


@dataclass(frozen=True, eq=False)
class Gold:
    """What is true of each row of a table.

    Attributes:
        facts: what the pictures show, int64 ``[rows, 4]``, as `synoptic.data.questions.facts`.
        groups: in which group's way each row was drawn and asked, int64 ``[rows]``: its domain.
        own: whose taste the row's answers were compared by, int64 ``[rows]``, an index into ``tastes``; `NOBODY` for
            rows that nobody holds.
        tastes: of all K groups.

    """

    facts: Ints
    groups: Ints
    own: Ints
    tastes: tuple[Taste, ...]

    def __len__(self) -> int:
        return len(self.facts)

    def utility(self, positions: Ints, texts: Sequence[str]) -> Floats:
        """What each text is worth by its row's own taste, float64 ``[n]``.

        Args:
            positions: which row each text is about ``[n]``.
            texts: n texts.

        Raises:
            SynopticError: a row that nobody holds has no taste of its own; or texts for other rows.
        """
        if (self.own[positions] == NOBODY).any():
            raise SynopticError("a row that nobody holds has no taste of its own", "judge it by all of them: utilities")
        return self.utilities(positions, texts)[self.own[positions], np.arange(len(positions))]

    def of_taste(self, taste: int, positions: Ints, texts: Sequence[str]) -> Floats:
        """What each text is worth to group ``taste``, float64 ``[n]``; see `utility`."""
        return np.asarray(judged([self.tastes[taste]], self._features(positions, texts))[0], dtype=np.float64)

    def utilities(self, positions: Ints, texts: Sequence[str]) -> Floats:
        """What each text is worth to every group, float64 ``[K, n]``; see `utility`."""
        return judged(self.tastes, self._features(positions, texts))

    def take(self, positions: Ints) -> Gold:
        """The truth about the rows at ``positions``, in that order."""
        return replace(self, facts=self.facts[positions], groups=self.groups[positions], own=self.own[positions])

    @classmethod
    def joined(cls, parts: Sequence[Gold]) -> Gold:
        """The truth about the rows of all parts, one part after the other.

        Raises:
            SynopticError: parts with different tastes.
        """
        if len({part.tastes for part in parts}) > 1:
            raise SynopticError("rows with different tastes cannot be in one table", "join rows of one task")
        facts, groups, own = (np.concatenate([getattr(part, name) for part in parts])
                              for name in ("facts", "groups", "own"))  # fmt: skip
        return cls(facts, groups, own, parts[0].tastes)

    @cached_property
    def fingerprint(self) -> str:
        """Identity of facts, groups and tastes, 16 hex digits."""
        tastes = ",".join(f"{taste.angle!r}:{taste.weight!r}" for taste in self.tastes)
        return digest(self.facts, self.groups, self.own, tastes)

    def _features(self, positions: Ints, texts: Sequence[str]) -> Floats:
        if len(positions) != len(texts):
            raise SynopticError(f"{len(texts)} texts were given for {len(positions)} rows", "give one for each row")
        found = [features(facts, text) for facts, text in zip(self.facts[positions].tolist(), texts, strict=True)]
        return np.array(found, dtype=np.float64).reshape(-1, len(Features._fields))
