"""What every source gives: a train and a test table over the same words, and the columns clients can be made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from synoptic.core.files import digest
from synoptic.core.seeds import numpy_generator
from synoptic.data.clients import ClientIndex
from synoptic.data.table import ExampleTable

if TYPE_CHECKING:
    from synoptic.data.tasks import Task

Ints = NDArray[np.int64]
TEMPLATE = "a photo of a {}."


@dataclass(frozen=True, eq=False)
class Source:
    """A data set before anything is selected from it.

    Attributes:
        train, test: tables with the same class and domain names.
        template: the prompt that suits the class names.
        columns, test_columns: further columns of the tables by name, [n] each.
        together: int64 [n] of the train table: rows with equal numbers go to one client; None: every row by itself.
        pool, pool_test: rows of nobody, for the server to train and to be judged on; None for most sources.
        tasks: what is asked of rows, in the order of the tables' domains; empty for most sources, with one task alone.
        shared_out: who holds which rows, by the run's seed, where the source says so itself.

    """

    train: ExampleTable
    test: ExampleTable
    template: str = TEMPLATE
    columns: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    test_columns: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    together: Ints | None = None
    pool: ExampleTable | None = None
    pool_test: ExampleTable | None = None
    tasks: tuple[Task, ...] = ()
    shared_out: Callable[[int], ClientIndex] | None = None

    @property
    def fingerprint(self) -> str:
        """Identity of all tables, 16 hex digits."""
        tables = (self.train, self.test, self.pool, self.pool_test)
        return digest(*(table.fingerprint for table in tables if table is not None))


def split_off(labels: Ints, share: float = 0.2, together: Ints | None = None) -> tuple[Ints, Ints]:
    """Ascending train and test positions for a source without a test part, stratified by class.

    Fixed, whatever the run's seed: the test part belongs to the data set. Each class gives round(share * n) examples
    to the test part, at least one if it has two. Rows with equal numbers in ``together`` stay on one side; they count
    as one example, of the class of their first.
    """
    if together is not None:
        _, first, place = np.unique(together, return_index=True, return_inverse=True)
        _, held_units = split_off(labels[first], share)
        aside = np.isin(place, held_units)
        return np.flatnonzero(~aside), np.flatnonzero(aside)
    order = numpy_generator(0, "test split").permutation(len(labels))
    held = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = order[labels[order] == label]
        held[rows[: min(max(round(share * len(rows)), 1), len(rows) - 1)]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)
