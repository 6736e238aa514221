"""What a client keeps for itself: few-shot and validation parts, and its share of the held-out test examples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synoptic.data.rows import Rows, rank_within

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def few_shot(owner: Ints, labels: Ints, shots: int, rng: np.random.Generator) -> Bools:
    """Which examples stay when every client keeps at most ``shots`` of each class, bool [n]."""
    cell = owner * (int(labels.max(initial=0)) + 1) + labels
    return np.asarray(rank_within(cell, rng) < shots)


def validation(owner: Ints, clients: int, share: float, rng: np.random.Generator) -> Bools:
    """Which examples each client sets aside, bool [n]: round(share * own), but at least 1 of 2 and never the last."""
    counts = np.bincount(owner, minlength=clients)
    aside = np.clip(np.rint(share * counts), 1 if share > 0 else 0, np.maximum(counts - 1, 0))
    return np.asarray(rank_within(owner, rng) < aside[owner])


def validation_together(owner: Ints, clients: int, share: float, rng: np.random.Generator, together: Ints) -> Bools:
    """`validation` for rows that stay together, such as questions about one picture: it counts and moves these units.

    ``together`` is int64 [n]; a client's rows with equal numbers are all set aside, or none of them.
    """
    pair = owner * (int(together.max(initial=0)) + 1) + together
    _, first, place = np.unique(pair, return_index=True, return_inverse=True)
    return validation(owner[first], clients, share, rng)[place]


def share_tests(
    owner: Ints,
    clients: int,
    train_label: Ints,
    test_rows: Ints,
    test_label: Ints,
    rng: np.random.Generator,
    train_domain: Ints | None = None,
    test_domain: Ints | None = None,
) -> Rows:
    """Share held-out examples out in the proportions of the clients' training examples.

    The test examples of a cell (a class, or a domain x class) are shuffled and cut in those proportions, without
    overlap. A client whose share rounds to nothing gets one example of the class it holds most of, of its own domain if
    there is one (of any class, if none of its own occurs); these are dealt in turn and may belong to another client as
    well.

    Args:
        owner: int64 [n], the client of every training example.
        clients: how many clients there are.
        train_label: int64 [n].
        test_rows: int64 [m], positions to share out, at least one.
        test_label: int64 [m].
        rng: shuffles the test examples.
        train_domain: int64 [n], or None without domains.
        test_domain: int64 [m], or None without domains.

    """
    if train_domain is None or test_domain is None:
        train_domain, test_domain = np.zeros_like(train_label), np.zeros_like(test_label)
    width = int(max(train_domain.max(initial=0), test_domain.max(initial=0))) + 1
    cells = (int(max(train_label.max(initial=0), test_label.max(initial=0))) + 1) * width
    order = np.lexsort((rng.random(len(test_rows)), test_label * width + test_domain))
    # Examples of a cell lie side by side, and so do the cells of a class.
    available = np.bincount(test_label * width + test_domain, minlength=cells)
    start = np.concatenate([[0], np.cumsum(available)])
    pair, held = np.unique((train_label * width + train_domain) * clients + owner, return_counts=True)
    cell, holder = pair // clients, pair % clients
    taken_from, taken = _cut(cell, held, available)
    picked = np.repeat(start[cell] + taken_from - np.cumsum(taken) + taken, taken) + np.arange(taken.sum())
    who = np.repeat(holder, taken)
    extra, extra_who = _last_resort(cell, holder, held, np.bincount(who, minlength=clients), available, start, width)
    chosen = test_rows[order[np.concatenate([picked, extra])]]
    return Rows.grouped(np.concatenate([who, extra_who]), clients, chosen)


def _cut(cell: Ints, held: Ints, available: Ints) -> tuple[Ints, Ints]:
    """Where each (cell, client) pair's share begins within the cell's test examples, and its length.

    Pairs come sorted by cell. Cumulative rounding makes the shares of a cell add up to exactly what it has.
    """
    running = np.cumsum(held)
    total = np.bincount(cell, weights=held, minlength=len(available)).astype(np.int64)
    before_cell = (np.cumsum(total) - total)[cell]
    upper = (running - before_cell) * available[cell] // total[cell]
    lower = (running - held - before_cell) * available[cell] // total[cell]
    return lower, upper - lower


def _last_resort(
    cell: Ints, holder: Ints, held: Ints, got: Ints, available: Ints, start: Ints, width: int
) -> tuple[Ints, Ints]:
    """One place in the sorted test examples for every client with training but no test examples, and the clients."""
    best = np.lexsort((-held, available[cell] == 0, holder))
    _, first = np.unique(holder[best], return_index=True)
    pairs = best[first]
    pairs = pairs[got[holder[pairs]] == 0]
    first_cell = cell[pairs] // width * width
    own = available[cell[pairs]] > 0
    begin = np.where(own, start[cell[pairs]], start[first_cell])
    count = np.where(own, available[cell[pairs]], start[first_cell + width] - start[first_cell])
    begin, count = np.where(count > 0, begin, 0), np.where(count > 0, count, start[-1])
    return begin + np.arange(len(pairs)) % np.maximum(count, 1), holder[pairs]
