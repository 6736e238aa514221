from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synoptic.data.rows import Rows, apportion, rank_within


@given(st.lists(st.integers(-1, 6), max_size=60))
def test_grouping_keeps_every_owned_row_once(owners: list[int]) -> None:
    owner = np.array(owners, dtype=np.int64)
    rows = Rows.grouped(owner, 7)
    assert len(rows) == 7
    for group in range(7):
        assert rows[group].tolist() == np.flatnonzero(owner == group).tolist()
    assert rows.counts.sum() == (owner >= 0).sum()
    assert np.array_equal(owner[rows.positions], rows.owners)


def test_given_positions_are_sorted_within_groups() -> None:
    rows = Rows.grouped(np.array([1, 0, 1]), 2, np.array([9, 5, 4]))
    assert rows[1].tolist() == [4, 9]
    assert rows.pooled()[0].tolist() == [4, 5, 9]


def test_pooled_is_a_union() -> None:
    rows = Rows(np.array([1, 2, 2, 3]), np.array([0, 2, 4]))
    assert rows.pooled()[0].tolist() == [1, 2, 3]


def test_no_such_group() -> None:
    with pytest.raises(IndexError):
        Rows.empty(2)[2]


@given(st.lists(st.integers(0, 5), max_size=50), st.integers(0, 3))
def test_ranks_count_within_each_group(groups: list[int], seed: int) -> None:
    group = np.array(groups, dtype=np.int64)
    rank = rank_within(group, np.random.default_rng(seed))
    for value in np.unique(group):
        assert sorted(rank[group == value]) == list(range((group == value).sum()))


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.data())
def test_apportioned_parts_sum_up(weights: list[int], data: st.DataObject) -> None:
    total = data.draw(st.integers(len(weights), sum(weights)))
    parts = apportion(np.array(weights), total, least=1)
    assert parts.sum() == total
    assert (parts >= 1).all()
    assert (parts <= weights).all()


def test_apportioned_parts_are_proportional() -> None:
    assert apportion(np.array([60, 30, 10]), 10).tolist() == [6, 3, 1]
