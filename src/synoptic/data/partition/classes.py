"""Each client holds a few classes whole or in part (McMahan et al. 2017, "pathological" label skew)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synoptic.core.errors import SynopticError
from synoptic.data.partition.request import Partition, Request
from synoptic.data.rows import rank_within

Ints = NDArray[np.int64]


def classes(request: Request, rng: np.random.Generator) -> Partition:
    """Deal classes to clients in a random cyclic order; the holders of a class share its examples equally.

    Without ``classes_per_client`` the classes are dealt out without overlap; with more clients than classes each
    client holds one class and several clients share it.
    """
    clients, per_client = request.count, request.spec.classes_per_client
    present = rng.permutation(np.unique(request.labels))
    holder_class, holder_client = _deal(len(present), clients, per_client)
    owner = np.empty(len(request.labels), dtype=np.int64)
    rank = rank_within(request.labels, rng)
    order = np.argsort(holder_class, kind="stable")
    starts = np.searchsorted(holder_class[order], np.arange(len(present) + 1))
    for index, label in enumerate(present):
        holders = rng.permutation(holder_client[order[starts[index] : starts[index + 1]]])
        rows = np.flatnonzero(request.labels == label)
        if len(holders) > len(rows):
            raise SynopticError(
                f"{len(holders):,} clients cannot each get 1 of {len(rows):,} examples of "
                f"{request.class_names[label]!r}",
                "lower data.clients or partition.classes_per_client",
            )
        owner[rows] = holders[rank[rows] * len(holders) // len(rows)]
    _check_least(np.bincount(owner, minlength=clients), request.spec.min_examples)
    return Partition(owner, clients)


def _deal(count: int, clients: int, per_client: int | None) -> tuple[Ints, Ints]:
    """Pairs (class, client) of who holds what; every class has a holder."""
    if per_client is None:
        turns = np.arange(max(count, clients))
        # Consecutive classes to one client when classes abound; clients in turn around the classes when they do not.
        return (turns, turns * clients // count) if count >= clients else (turns % count, turns)
    if per_client > count:
        raise SynopticError(
            f"no client can hold {per_client} classes, for only {count} are trained",
            "lower partition.classes_per_client",
        )
    if clients * per_client < count:
        raise SynopticError(
            f"{clients} clients with {per_client} classes each cover {clients * per_client} of {count} classes",
            f"set partition.classes_per_client to at least {-(-count // clients)} or data.clients to at least "
            f"{-(-count // per_client)}",
        )
    turns = np.arange(clients * per_client)
    return turns % count, turns // per_client


def _check_least(counts: Ints, least: int) -> None:
    if counts.min() < least:
        raise SynopticError(
            f"{int((counts < least).sum()):,} of {len(counts):,} clients would hold fewer than {least:,} examples "
            f"(the smallest {int(counts.min()):,}), and moving examples would break partition.kind=classes",
            "lower partition.min_examples or data.clients",
        )
