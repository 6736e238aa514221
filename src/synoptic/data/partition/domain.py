"""Feature shift: every client holds examples of one domain, iid within it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synoptic.core.errors import SynopticError
from synoptic.data.partition.request import Partition, Request, require_enough

Ints = NDArray[np.int64]


def domain(request: Request, rng: np.random.Generator) -> Partition:
    """Give each domain to one client, or share it out equally among the clients of that domain."""
    domains, sizes, names = client_domains(request)
    owner = np.empty(len(domains), dtype=np.int64)
    first = 0
    for index, clients in sizes.items():
        rows = rng.permutation(np.flatnonzero(domains == index))
        require_enough(len(rows), clients, request.spec.min_examples, f"examples of {request.domain_names[index]!r}")
        owner[rows] = first + np.arange(len(rows)) * clients // len(rows)
        first += clients
    return Partition(owner, first, names)


def client_domains(request: Request) -> tuple[Ints, dict[int, int], tuple[str, ...]]:
    """The examples' domains, how many clients each domain gets, and the clients' names, domain by domain.

    One client per domain unless a number is asked for; then as even as it goes, earlier domains first.
    """
    if request.domains is None:
        raise SynopticError(
            f"partition.kind={request.spec.kind} needs domains, and the source has none",
            "name the column with data.domain or choose another kind",
        )
    present = [int(index) for index in np.unique(request.domains)]
    clients = len(present) if request.clients is None else request.clients
    if clients < len(present):
        raise SynopticError(
            f"{clients} clients cannot hold {len(present)} domains with one domain each",
            f"set data.clients to at least {len(present)} or restrict data.domains",
        )
    share, rest = divmod(clients, len(present))
    sizes = {index: share + (place < rest) for place, index in enumerate(present)}
    return request.domains, sizes, _names(request.domain_names, sizes)


def _names(domain_names: tuple[str, ...], sizes: dict[int, int]) -> tuple[str, ...]:
    names: list[str] = []
    for index, clients in sizes.items():
        word, width = domain_names[index], len(str(clients - 1))
        names.extend([word] if clients == 1 else [f"{word}-{i:0{width}d}" for i in range(clients)])
    return tuple(names)
