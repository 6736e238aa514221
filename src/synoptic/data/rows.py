"""Lists of row numbers for many groups in two arrays, so 100,000 clients cost arrays and not objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Rows:
    """Group k holds ``positions[offsets[k]:offsets[k + 1]]`` (compressed sparse rows).

    Attributes:
        positions: int64 [total], ascending within each group.
        offsets: int64 [groups + 1], from 0 to total.

    """

    positions: Ints
    offsets: Ints

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, group: int) -> Ints:
        if not 0 <= group < len(self):
            raise IndexError(f"group {group} of {len(self)}")
        return self.positions[self.offsets[group] : self.offsets[group + 1]]

    @property
    def counts(self) -> Ints:
        """Rows per group, int64 [groups]."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> Ints:
        """The group of every entry of ``positions``, int64 [total]."""
        return np.repeat(np.arange(len(self)), self.counts)

    @classmethod
    def grouped(cls, owner: Ints, groups: int, positions: Ints | None = None) -> Rows:
        """Group ``positions`` (0, 1, ... when None) by ``owner``; entries owned by -1 are left out."""
        if positions is None:
            positions = np.arange(len(owner))
        kept = owner >= 0
        owner, positions = owner[kept], positions[kept]
        order = np.lexsort((positions, owner))
        counts = np.bincount(owner, minlength=groups)
        return cls(positions[order].astype(np.int64), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))

    @classmethod
    def empty(cls, groups: int) -> Rows:
        """Groups without rows."""
        return cls(np.zeros(0, dtype=np.int64), np.zeros(groups + 1, dtype=np.int64))

    def pooled(self) -> Rows:
        """One group: the ascending union of all."""
        union = np.unique(self.positions)
        return Rows(union, np.array([0, len(union)], dtype=np.int64))


def rank_within(group: Ints, rng: np.random.Generator) -> Ints:
    """The place of every element in a random order of its own group, int64 [n], counted from 0.

    One random key per element and one sort replace a shuffle per group.
    """
    order = np.lexsort((rng.random(len(group)), group))
    ordered = group[order]
    first = np.searchsorted(ordered, ordered, side="left")
    rank = np.empty(len(group), dtype=np.int64)
    rank[order] = np.arange(len(group)) - first
    return rank


def apportion(weights: Ints, total: int, least: int = 0) -> Ints:
    """Whole numbers near ``total * weights / sum``, at least ``least`` and at most ``weights``, that sum to ``total``.

    Largest remainders (Hamilton). The caller sees to it that least * len(weights) <= total <= sum(weights).
    """
    exact = total * weights / max(int(weights.sum()), 1)
    parts = np.clip(np.floor(exact), np.minimum(least, weights), weights).astype(np.int64)
    while (gap := total - int(parts.sum())) != 0:
        step = 1 if gap > 0 else -1
        open_ = np.flatnonzero(parts < weights if gap > 0 else parts > least)
        best = open_[np.argsort(-step * (exact - parts)[open_], kind="stable")][: abs(gap)]
        parts[best] += step
    return parts
