from __future__ import annotations

import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from synoptic.data.shares import few_shot, share_tests, validation, validation_together


@given(st.integers(1, 200), st.integers(1, 20), st.integers(1, 5), st.integers(1, 4), st.integers(0, 5))
def test_few_shots_per_client_and_class(n: int, clients: int, classes: int, shots: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    owner, labels = rng.integers(0, clients, n), rng.integers(0, classes, n)
    kept = few_shot(owner, labels, shots, rng)
    for k in range(clients):
        for label in range(classes):
            cell = (owner == k) & (labels == label)
            assert kept[cell].sum() == min(shots, cell.sum())


@given(st.lists(st.integers(0, 12), min_size=1, max_size=20), st.floats(0, 0.99), st.integers(0, 3))
def test_validation_is_a_share_and_never_the_last(sizes: list[int], share: float, seed: int) -> None:
    owner = np.repeat(np.arange(len(sizes)), sizes)
    aside = validation(owner, len(sizes), share, np.random.default_rng(seed))
    for k, size in enumerate(sizes):
        got = aside[owner == k].sum()
        assert got <= max(size - 1, 0)
        if share == 0:
            assert got == 0
        elif size >= 2:
            assert 1 <= got <= max(1, round(share * size))


@given(st.integers(1, 80), st.integers(1, 6), st.integers(1, 12), st.floats(0, 0.9), st.integers(0, 3))
def test_what_belongs_together_is_set_aside_together(n: int, clients: int, units: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    owner, together = rng.integers(0, clients, n), rng.integers(0, units, n)
    aside = validation_together(owner, clients, share, rng, together)
    for k in range(clients):
        sides = [set(together[(owner == k) & (aside == side)]) for side in (False, True)]
        assert not sides[0] & sides[1]
        assert bool(sides[0]) == bool((owner == k).any())
        if share > 0 and len(set(together[owner == k])) > 1:
            assert sides[1]


def test_rows_by_themselves_are_set_aside_as_ever() -> None:
    owner = np.repeat([0, 1, 2], 20)
    one, two = (np.random.default_rng(0) for _ in range(2))
    alone = validation_together(owner, 3, 0.3, one, np.arange(60))
    assert alone.tolist() == validation(owner, 3, 0.3, two).tolist()


@given(
    st.integers(1, 150), st.integers(1, 40), st.integers(1, 5), st.integers(1, 3), st.integers(0, 60), st.integers(0, 5)
)
def test_everybody_is_tested_on_what_they_hold(
    n: int, clients: int, classes: int, domains: int, extra: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    owner, label, domain = rng.integers(0, clients, n), rng.integers(0, classes, n), rng.integers(0, domains, n)
    test_label = np.concatenate([np.arange(classes), rng.integers(0, classes, extra)])
    test_domain = rng.integers(0, domains, len(test_label))
    test_rows = np.sort(rng.choice(1000, len(test_label), replace=False))
    rows = share_tests(owner, clients, label, test_rows, test_label, rng, domain, test_domain)
    of = dict(zip(test_rows.tolist(), zip(test_label.tolist(), test_domain.tolist(), strict=True), strict=True))
    seen: list[int] = []
    for k in range(clients):
        mine = rows[k].tolist()
        assert bool(mine) == bool((owner == k).any())
        assert all(of[row][0] in label[owner == k] for row in mine)
        assert len(set(mine)) == len(mine)
        seen.extend(mine if len(mine) > 1 else [])
    assert len(seen) - len(set(seen)) <= clients, "only last resorts are shared"


def test_shares_follow_the_training_proportions_without_overlap() -> None:
    owner = np.repeat([0, 1], [300, 100])
    label = np.zeros(400, dtype=np.int64)
    rows = share_tests(owner, 2, label, np.arange(40), np.zeros(40, dtype=np.int64), np.random.default_rng(0))
    assert rows.counts.tolist() == [30, 10]
    assert not set(rows[0]) & set(rows[1])


def test_own_domain_comes_first() -> None:
    owner, label, domain = np.array([0, 1]), np.array([0, 0]), np.array([0, 1])
    test_domain = np.array([1, 1, 0])
    rows = share_tests(
        owner, 2, label, np.arange(3), np.zeros(3, dtype=np.int64), np.random.default_rng(0), domain, test_domain
    )
    assert rows[0].tolist() == [2]
    assert rows[1].tolist() == [0, 1]


def test_a_domain_without_test_examples_borrows_its_class() -> None:
    owner, label, domain = np.array([0, 1]), np.array([0, 0]), np.array([0, 1])
    rows = share_tests(
        owner, 2, label, np.arange(2), np.zeros(2, dtype=np.int64), np.random.default_rng(0), domain, np.array([1, 1])
    )
    assert rows.counts.tolist() == [1, 2]


def test_a_class_without_test_examples_borrows_any() -> None:
    owner, label = np.array([0, 0, 1, 2]), np.array([0, 0, 1, 2])
    rows = share_tests(owner, 3, label, np.array([4, 7]), np.array([0, 0]), np.random.default_rng(0))
    assert rows[0].tolist() == [4, 7]
    assert rows[1][0] in (4, 7)
    assert rows.counts.tolist() == [2, 1, 1]


def test_a_scarce_test_set_is_shared() -> None:
    owner, label = np.arange(50), np.zeros(50, dtype=np.int64)
    rows = share_tests(owner, 50, label, np.arange(3), np.zeros(3, dtype=np.int64), np.random.default_rng(0))
    assert (rows.counts == 1).all()
    assert set(rows.positions) == {0, 1, 2}


def test_a_hundred_thousand_clients_share_in_seconds() -> None:
    rng = np.random.default_rng(0)
    owner = rng.permutation(np.arange(300_000) % 100_000)
    label, test_label = rng.integers(0, 10, 300_000), np.arange(10_000) % 10
    start = time.perf_counter()
    rows = share_tests(owner, 100_000, label, np.arange(10_000), test_label, rng)
    assert time.perf_counter() - start < 5
    assert rows.counts.min() >= 1
