"""Pictures of a training table that only the server has, with all that is asked about them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from synoptic.core.errors import SynopticError
from synoptic.core.seeds import numpy_generator
from synoptic.data.overlap import same_picture
from synoptic.data.rows import apportion, rank_within
from synoptic.data.select import Selection, table_of
from synoptic.data.sources import Source
from synoptic.data.spec import DataSpec
from synoptic.data.table import ExampleTable

Ints = NDArray[np.int64]


def set_aside(source: Source, selection: Selection, spec: DataSpec, seed: int) -> Selection:
    """Move the server's share of the pictures from the training rows to the public ones, before clients are made.

    Rows that show one picture, or are of one ``data.group``, go together. The share is taken of every domain, and of
    every value of a partition's column, and leaves each of them a picture, so that no client vanishes.

    Raises:
        SynopticError: there is no picture to spare.
    """
    if not spec.public:
        return selection
    rows = selection.train_rows
    units = same_picture(source.train, rows)
    if source.together is not None:
        units = connected(units, source.together[rows])
    kept = _shared(units, _strata(source, rows, spec), spec.public, numpy_generator(seed, "public"))
    if kept is None:
        raise SynopticError(f"data.public={spec.public:g}, and {source.train.name} has no picture to spare for the "
                            "server", "leave data.public out, or use more data")  # fmt: skip
    return replace(selection, train_rows=rows[kept], public_rows=rows[~kept])


def public_table(source: Source, selection: Selection) -> ExampleTable | None:
    """The public rows under the run's own class and domain numbers; None where there are none."""
    if not len(selection.public_rows):
        return None
    return table_of(f"{source.train.name.removesuffix('train')}public", source.train, selection.public_rows, selection)


def connected(one: Ints, two: Ints) -> Ints:
    """Units ``[n]`` in which all rows are that have a number in common, in the first array or in the second."""
    first, second = (np.unique(numbers, return_inverse=True)[1] for numbers in (one, two))
    units = np.arange(len(first), dtype=np.int64)
    while True:
        before = units
        for numbers in (first, second):
            lowest = np.full(len(units), len(units), dtype=np.int64)
            np.minimum.at(lowest, numbers, units)
            units = lowest[numbers]
        if np.array_equal(before, units):
            return units


def _shared(units: Ints, strata: Ints, share: float, rng: np.random.Generator) -> NDArray[np.bool_] | None:
    """Which rows stay with clients, bool [n]: all of some units; at least one unit goes, and of no stratum the last."""
    _, first, place = np.unique(units, return_index=True, return_inverse=True)
    _, stratum, sizes = np.unique(strata[first], return_inverse=True, return_counts=True)
    spare = sizes - 1
    if not spare.sum():
        return None
    total = min(max(round(share * len(first)), 1), int(spare.sum()))
    goes = rank_within(stratum.astype(np.int64), rng) < apportion(spare, total)[stratum]
    return np.asarray(~goes[place], dtype=bool)


def _strata(source: Source, rows: Ints, spec: DataSpec) -> Ints:
    by = spec.partition.column if spec.partition.kind == "column" else None
    if by is not None and by in source.columns:
        return np.asarray(np.unique(source.columns[by][rows], return_inverse=True)[1], dtype=np.int64)
    domains = source.train.domains
    return np.zeros_like(rows) if domains is None else np.asarray(domains[rows], dtype=np.int64)
