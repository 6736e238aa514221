"""Feature shift and label skew: one domain per client, Dirichlet label shares among the clients of a domain."""

from __future__ import annotations

import numpy as np

from synoptic.data.partition.dirichlet import spread
from synoptic.data.partition.domain import client_domains
from synoptic.data.partition.request import Partition, Request, repair, require_enough


def domain_dirichlet(request: Request, rng: np.random.Generator) -> Partition:
    """Within each domain as `dirichlet`, repair included; no example leaves its domain."""
    domains, sizes, names = client_domains(request)
    owner = np.empty(len(domains), dtype=np.int64)
    first = 0
    for index, clients in sizes.items():
        rows = np.flatnonzero(domains == index)
        require_enough(len(rows), clients, request.spec.min_examples, f"examples of {request.domain_names[index]!r}")
        drawn = spread(request.labels[rows], clients, request.spec.alpha, rng)
        owner[rows] = first + repair(drawn, clients, request.spec.min_examples, rng)
        first += clients
    return Partition(owner, first, names)
