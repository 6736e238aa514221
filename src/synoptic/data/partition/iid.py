"""Equal random parts."""

from __future__ import annotations

import numpy as np

from synoptic.data.partition.request import Partition, Request, require_enough


def iid(request: Request, rng: np.random.Generator) -> Partition:
    """Shuffle the examples and deal them out: client sizes differ by at most one."""
    n, clients = len(request.labels), request.count
    require_enough(n, clients, request.spec.min_examples)
    owner = np.empty(n, dtype=np.int64)
    owner[rng.permutation(n)] = np.arange(n) * clients // n
    return Partition(owner, clients)
