"""What every source gives: a train and a test table over the same words, and the columns clients can be made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from synoptic.core.files import digest
from synoptic.core.seeds import numpy_generator
from synoptic.data.table import ExampleTable

Ints = NDArray[np.int64]
TEMPLATE = "a photo of a {}."


@dataclass(frozen=True, eq=False)
class Source:
    """A data set before anything is selected from it.

    Attributes:
        train, test: tables with the same class and domain names.
        template: the prompt that suits the class names.
        columns: further columns of the train table by name, [n] each.

    """

    train: ExampleTable
    test: ExampleTable
    template: str = TEMPLATE
    columns: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Identity of both tables, 16 hex digits."""
        return digest(self.train.fingerprint, self.test.fingerprint)


def split_off(labels: Ints, share: float = 0.2) -> tuple[Ints, Ints]:
    """Ascending train and test positions for a source without a test part, stratified by class.

    Fixed, whatever the run's seed: the test part belongs to the data set. Each class gives round(share * n) examples
    to the test part, at least one if it has two.
    """
    order = numpy_generator(0, "test split").permutation(len(labels))
    held = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = order[labels[order] == label]
        held[rows[: min(max(round(share * len(rows)), 1), len(rows) - 1)]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)
