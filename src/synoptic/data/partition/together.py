"""Rows that belong together, such as all questions of one patient, go to one client whatever the partition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from synoptic.data.partition.request import Partition, Request

Ints = NDArray[np.int64]
Partitioner = Callable[[Request, np.random.Generator], Partition]


def shared_together(
    request: Request,
    together: Ints,
    rng: np.random.Generator,
    share: Partitioner,
) -> Partition:
    """Share out one row of each group, the first, and let the others follow it.

    ``partition.min_examples`` then counts groups.

    Args:
        request: of n rows.
        together: int64 [n]; rows with equal numbers stay together.
        rng: passed on.
        share: a partitioner, such as `synoptic.data.partition.partition`.

    """
    _, first, place = np.unique(together, return_index=True, return_inverse=True)
    domains = None if request.domains is None else request.domains[first]
    columns = {name: values[first] for name, values in (request.columns or {}).items()}
    shared = share(replace(request, labels=request.labels[first], domains=domains, columns=columns), rng)
    return replace(shared, owner=shared.owner[place])
