"""Natural clients: one per value of a column, such as a writer, a hospital or a camera."""

from __future__ import annotations

import numpy as np

from synoptic.core.errors import SynopticError
from synoptic.data.partition.request import Partition, Request


def column(request: Request, rng: np.random.Generator) -> Partition:
    """Every value is a client, in sorted order; nothing is moved between natural clients."""
    wanted, columns = request.spec.column or "", request.columns or {}
    if wanted not in columns:
        known = ", ".join(sorted(columns)) or "none"
        raise SynopticError(f"the source has no column {wanted!r} to partition by", f"its columns are: {known}")
    values, owner = np.unique(columns[wanted], return_inverse=True)
    if request.clients is not None and request.clients != len(values):
        raise SynopticError(
            f"column {wanted!r} has {len(values):,} values but data.clients is {request.clients:,}",
            "leave data.clients out",
        )
    counts = np.bincount(owner)
    least = request.spec.min_examples
    if counts.min() < least:
        raise SynopticError(
            f"{int((counts < least).sum()):,} of {len(values):,} values of {wanted!r} have fewer than {least:,} "
            f"examples (the smallest {int(counts.min()):,})",
            "lower partition.min_examples",
        )
    return Partition(owner.astype(np.int64), len(values), tuple(str(value) for value in values))
