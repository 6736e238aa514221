"""Partitions: one file per kind, found by name. Each is a pure function of a request and a random generator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from synoptic.data.partition.classes import classes
from synoptic.data.partition.column import column
from synoptic.data.partition.dirichlet import dirichlet
from synoptic.data.partition.domain import domain
from synoptic.data.partition.domain_dirichlet import domain_dirichlet
from synoptic.data.partition.iid import iid
from synoptic.data.partition.request import Partition, Request
from synoptic.data.spec import PartitionKind

__all__ = ["PARTITIONERS", "Partition", "Request", "partition"]

PARTITIONERS: Final[dict[PartitionKind, Callable[[Request, np.random.Generator], Partition]]] = {
    "iid": iid,
    "classes": classes,
    "dirichlet": dirichlet,
    "domain": domain,
    "domain_dirichlet": domain_dirichlet,
    "column": column,
}


def partition(request: Request, rng: np.random.Generator) -> Partition:
    """Assign every training example to exactly one client, by ``request.spec.kind``.

    Raises:
        SynopticError: when the request cannot be met; the sentence says why, in numbers.

    """
    return PARTITIONERS[request.spec.kind](request, rng)
