"""Which examples each client holds, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synoptic.core.errors import SynopticError, listing
from synoptic.data.rows import Rows

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ClientIndex:
    """Positions of every client's train, validation and test examples.

    Attributes:
        train_rows, val_rows: positions in ``FederatedData.train``; disjoint, and no example has two owners.
        test_rows: positions in ``FederatedData.test``; two clients may share one where test examples are scarce.
        names: one per client, or None for "client-0", "client-1", ...

    """

    train_rows: Rows
    val_rows: Rows
    test_rows: Rows
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not len(self.train_rows) == len(self.val_rows) == len(self.test_rows):
            raise ValueError("train, val and test must list the same number of clients")
        if self.names is not None and len(self.names) != len(self):
            raise ValueError(f"{len(self.names)} names for {len(self)} clients")

    def __len__(self) -> int:
        return len(self.train_rows)

    def name(self, k: int) -> str:
        """What people call client k; numbers are padded, so names sort as clients do."""
        if self.names is not None:
            return self.names[k]
        return f"client-{k:0{len(str(len(self) - 1))}d}"

    def number(self, client: str) -> int:
        """The client that people call so, or by its number.

        Raises:
            SynopticError: nobody is called so.
        """
        names = [self.name(k) for k in range(len(self))]
        if client in names:
            return names.index(client)
        if client.isdecimal() and int(client) < len(names):
            return int(client)
        raise SynopticError(f"these data have no client '{client}'", f"choose among {listing(names)}")

    def train(self, k: int) -> Ints:
        """Ascending positions in the train table."""
        return self.train_rows[k]

    def val(self, k: int) -> Ints:
        """Ascending positions in the train table, disjoint from ``train(k)``."""
        return self.val_rows[k]

    def test(self, k: int) -> Ints:
        """Ascending positions in the test table, of base classes only."""
        return self.test_rows[k]

    def pooled(self) -> ClientIndex:
        """One client, "everyone", who holds all examples: the centralised ceiling."""
        return ClientIndex(self.train_rows.pooled(), self.val_rows.pooled(), self.test_rows.pooled(), ("everyone",))
