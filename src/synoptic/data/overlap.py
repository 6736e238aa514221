"""No test picture may occur in training data: found by content, not by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from synoptic.core.errors import SynopticError
from synoptic.data.table import ExampleTable

if TYPE_CHECKING:
    from synoptic.data.federated import FederatedData

Ints = NDArray[np.int64]
DECODED: Final = 20_000  # pictures; more are compared as they are stored, which costs no decoding


def repeated_in(train: ExampleTable, train_rows: Ints, test: ExampleTable, test_rows: Ints) -> NDArray[np.bool_]:
    """Which of ``train_rows`` show a picture that ``test_rows`` has too, bool [n].

    Up to DECODED pictures are compared by decoded pixels. Larger sources are compared by their encoded bytes: that
    finds every verbatim copy, but not a picture that was encoded anew; `check_overlap` finds those as well.
    """
    pictures = len(train.distinct(train_rows)[0]) + len(test.distinct(test_rows)[0])
    if pictures <= DECODED:
        known, seen = set(test.content_hashes(test_rows)), train.content_hashes(train_rows)
    else:
        known, seen = set(test.signatures(test_rows)), train.signatures(train_rows)
    return np.array([content in known for content in seen], dtype=bool)


def same_picture(table: ExampleTable, rows: Ints) -> Ints:
    """Which of ``rows`` show the same picture, int64 [n]: equal numbers; by pixels or bytes, as in `repeated_in`."""
    decoded = len(table.distinct(rows)[0]) <= DECODED
    seen = table.content_hashes(rows) if decoded else table.signatures(rows)
    return np.unique(seen, return_inverse=True)[1].astype(np.int64)


def check_overlap(data: FederatedData) -> None:
    """Compare every training picture with every test picture by decoded pixels, and pictures of nobody with both.

    Raises:
        SynopticError: when a test picture occurs in training data; it names the first and counts all.

    """
    tables = {"test": data.test, "public test": data.pool_test, "public": data.pool, "training": data.train}
    known: dict[str, tuple[str, str]] = {}
    for kind, table in tables.items():
        if table is None:
            continue
        hashes = table.content_hashes(np.arange(len(table)))
        shared = [(row, *known[content]) for row, content in enumerate(hashes) if content in known]
        if shared:
            row, other, twin = shared[0]
            raise SynopticError(
                f"{len(shared):,} {kind} images are {other} images too (first: {table.name} {row} is {twin})",
                f"remove them from the source's {kind} part",
            )
        for row, content in enumerate(hashes):
            known.setdefault(content, (kind, f"{table.name} {row}"))
