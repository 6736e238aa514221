"""Label skew: each class is spread over the clients by one draw from a symmetric Dirichlet (Hsu et al. 2019)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synoptic.data.partition.request import Partition, Request, repair, require_enough

Ints = NDArray[np.int64]


def dirichlet(request: Request, rng: np.random.Generator) -> Partition:
    """Draw once per class, then repair: never a rejection loop, whatever alpha and the number of clients."""
    clients, least = request.count, request.spec.min_examples
    require_enough(len(request.labels), clients, least)
    owner = spread(request.labels, clients, request.spec.alpha, rng)
    return Partition(repair(owner, clients, least, rng), clients)


def spread(labels: Ints, clients: int, alpha: float, rng: np.random.Generator) -> Ints:
    """Assign every example by its class's Dirichlet shares, int64 [n], before any repair.

    The shares become whole numbers by systematic sampling: a client with share p of n examples gets floor(np) or
    ceil(np) of them, np on average. Memory is one array of ``clients``, whatever the number of classes.
    """
    owner = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        edges = np.cumsum(shares(clients, alpha, rng))
        ticks = (np.arange(len(rows)) + rng.random()) / len(rows)
        owner[rows] = np.minimum(np.searchsorted(edges, ticks, side="right"), clients - 1)
    return owner


def shares(clients: int, alpha: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """One draw from Dirichlet(alpha, ..., alpha), float64 [clients].

    In logarithms, as Gamma(a) = Gamma(a + 1) * U^(1/a): the usual quotient is 0/0 once alpha is small.
    """
    log_gamma = np.log(rng.standard_gamma(alpha + 1, clients)) + np.log1p(-rng.random(clients)) / alpha
    weights = np.exp(log_gamma - log_gamma.max())
    return np.asarray(weights / weights.sum(), dtype=np.float64)
