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


def check_overlap(data: FederatedData) -> None:
    """Compare every training picture with every test picture by decoded pixels.

    Raises:
        SynopticError: when a test picture occurs in training data; it names the first and counts all.

    """
    known: dict[str, int] = {}
    for position, content in enumerate(data.test.content_hashes(np.arange(len(data.test)))):
        known.setdefault(content, position)
    hashes = data.train.content_hashes(np.arange(len(data.train)))
    shared = [(row, known[content]) for row, content in enumerate(hashes) if content in known]
    if shared:
        row, twin = shared[0]
        raise SynopticError(
            f"{len(shared):,} training images are test images too (first: {data.train.name} {row} is {data.test.name} "
            f"{twin})",
            "remove them from the source's training part",
        )
