"""What every partitioner is given and gives back, and the two checks they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synoptic.core.errors import SynopticError
from synoptic.data.rows import rank_within
from synoptic.data.spec import CLIENTS, PartitionSpec

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Request:
    """n training examples to share out.

    Attributes:
        spec: the partition's options.
        clients: how many clients were asked for; None leaves it to the partitioner.
        labels: int64 [n], indices into ``class_names``.
        class_names: words, for messages.
        domains, domain_names: int64 [n] and words, or None and () where the source knows no domains.
        columns: other columns of the source by name, [n] each.

    """

    spec: PartitionSpec
    clients: int | None
    labels: Ints
    class_names: tuple[str, ...]
    domains: Ints | None = None
    domain_names: tuple[str, ...] = ()
    columns: Mapping[str, NDArray[np.generic]] | None = None

    @property
    def count(self) -> int:
        """The number of clients asked for, or the default."""
        return CLIENTS if self.clients is None else self.clients


@dataclass(frozen=True, eq=False)
class Partition:
    """``owner`` int64 [n] says which of ``clients`` clients holds each example; ``names`` where clients have some."""

    owner: Ints
    clients: int
    names: tuple[str, ...] | None = None


def require_enough(examples: int, clients: int, least: int, what: str = "training examples") -> None:
    """Refuse what no assignment can satisfy, in numbers."""
    if clients * least > examples:
        raise SynopticError(
            f"{clients:,} clients cannot each get {least:,} of {examples:,} {what} ({clients * least:,} are needed)",
            "lower data.clients or partition.min_examples, or use more data",
        )


def repair(owner: Ints, clients: int, least: int, rng: np.random.Generator) -> Ints:
    """Move the fewest examples, from the richest clients, until everyone holds ``least``.

    The number moved is the sum of what is missing; no assignment needs fewer. Donors are levelled from the top: the
    final size of every donor is L or L + 1 for one level L, and none falls below ``least``. Which of a donor's
    examples move, and to whom, is random. One pass, no loop over draws.

    Raises:
        SynopticError: when there are fewer than ``clients * least`` examples.

    """
    require_enough(len(owner), clients, least)
    counts = np.bincount(owner, minlength=clients)
    missing = np.maximum(least - counts, 0)
    need = int(missing.sum())
    if need == 0:
        return owner
    gives = _levelled(counts, need)
    moved = np.flatnonzero(rank_within(owner, rng) < gives[owner])
    receivers = np.repeat(np.arange(clients), missing)
    repaired = owner.copy()
    repaired[rng.permutation(moved)] = receivers
    return repaired


def _levelled(counts: Ints, need: int) -> Ints:
    """How many examples each client gives when ``need`` are taken from the tallest columns."""
    tall = np.sort(counts)[::-1]
    above = np.cumsum(tall)
    rank = np.arange(1, len(tall) + 1)
    # Cutting the first r columns to the height of column r frees above[r] - r * tall[r]; find how many must be cut.
    freed = above - rank * tall
    donors = int(np.searchsorted(freed, need, side="right"))
    level, extra = divmod(int(above[donors - 1]) - need, donors)
    gives = np.maximum(counts - level, 0)
    richest = np.argsort(-counts, kind="stable")[:donors]
    gives[richest[:extra]] -= 1
    return gives
