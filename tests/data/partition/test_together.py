from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synoptic.data.partition import Request, partition
from synoptic.data.partition.together import shared_together
from synoptic.data.spec import PartitionSpec


def request(n: int, clients: int, seed: int, kind: str) -> Request:
    rng = np.random.default_rng(seed)
    return Request(
        PartitionSpec.model_validate({"kind": kind}), clients, rng.integers(0, 3, n), ("a", "b", "c"),
        rng.integers(0, 2, n), ("x", "y"),
    )  # fmt: skip


@given(st.integers(30, 90), st.integers(2, 4), st.integers(0, 5), st.sampled_from(["iid", "dirichlet"]))
def test_rows_that_belong_together_have_one_owner(n: int, clients: int, seed: int, kind: Any) -> None:
    together = np.random.default_rng(seed + 100).permutation(np.arange(n) // 3)
    shared = shared_together(request(n, clients, seed, kind), together, np.random.default_rng(seed), partition)
    assert len(shared.owner) == n
    assert set(shared.owner) == set(range(clients))
    for unit in np.unique(together):
        assert len(set(shared.owner[together == unit])) == 1


@pytest.mark.parametrize("kind", ["iid", "dirichlet", "classes", "domain"])
def test_rows_by_themselves_are_shared_out_as_ever(kind: str) -> None:
    asked = request(40, 3, 0, kind)
    alone = shared_together(asked, np.arange(40), np.random.default_rng(1), partition)
    plain = partition(asked, np.random.default_rng(1))
    assert alone.owner.tolist() == plain.owner.tolist()
    assert (alone.clients, alone.names) == (plain.clients, plain.names)
