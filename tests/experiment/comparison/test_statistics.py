from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from synoptic.experiment.comparison.statistics import LEAST, difference, estimate, interval_of

values = st.lists(st.floats(-10, 10, width=32), min_size=2, max_size=9)


@given(values)
def test_an_estimate_is_students_interval(some: list[float]) -> None:
    found = estimate(some)
    assert found.mean == pytest.approx(np.mean(some))
    if np.ptp(some) > 1e-3:
        low, high = stats.t.interval(0.95, len(some) - 1, loc=np.mean(some), scale=stats.sem(some))
        assert (found.low, found.high) == pytest.approx((low, high))
        assert found.half == pytest.approx((high - low) / 2)


def test_one_seed_has_no_interval() -> None:
    found = estimate([0.5])
    assert found.mean == 0.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)


@given(values, st.floats(-5, 5))
def test_what_all_seeds_share_falls_out_of_a_paired_difference(some: list[float], shift: float) -> None:
    """Seeds differ by much more than methods do; the paired interval sees only the methods."""
    moved = [value + shift for value in some]
    apart = difference(moved, some)
    assert apart.estimate.mean == pytest.approx(shift, abs=1e-6)
    assert apart.estimate.half == pytest.approx(0, abs=1e-5)


def test_wins_follow_what_is_better() -> None:
    one, two = [1.0, 2.0, 3.0, 4.0], [0.0, 2.0, 4.0, 3.0]
    more, less = difference(one, two), difference(one, two, higher_is_better=False)
    assert (more.wins, more.ties, more.losses) == (2, 1, 1)
    assert (less.wins, less.ties, less.losses) == (1, 1, 2)
    assert more.estimate == less.estimate


def mean_apart(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    return a.mean(axis) - b.mean(axis)


def test_what_does_not_vary_has_an_interval_of_no_width() -> None:
    assert interval_of([[7.0] * 5, [2.0] * 5], mean_apart) == (5.0, 5.0)


def test_one_seed_cannot_be_drawn_again() -> None:
    assert all(math.isnan(end) for end in interval_of([[1.0], [2.0]], mean_apart))


def test_of_a_difference_of_means_it_is_never_shorter_than_the_paired_t_interval() -> None:
    rng = np.random.default_rng(2)
    for seeds in (2, 4, 5, 9):
        one, two = rng.normal(0, 1, (2, seeds))
        plain = difference(list(one), list(two)).estimate
        low, high = interval_of([one, two], mean_apart)
        assert low <= plain.low + 1e-9
        assert high >= plain.high - 1e-9


def test_seeds_are_paired() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 10, 8)
    low, high = interval_of([hard + 1 + rng.normal(0, 0.1, 8), hard], mean_apart)
    assert 0.7 < low < high < 1.3


@pytest.mark.parametrize("seeds", [LEAST, 5, 8])
def test_the_interval_covers_about_as_often_as_it_says(seeds: int) -> None:
    """300 experiments with a known effect of 0; a bootstrap alone covers 87 % of them with four values."""
    rng = np.random.default_rng(1)
    covered = sum(
        low <= 0 <= high
        for low, high in (interval_of([rng.normal(0, 1, seeds), np.zeros(seeds)], mean_apart) for _ in range(300))
    )
    assert covered >= 0.93 * 300


def test_a_seed_against_a_claim_weighs() -> None:
    low, _ = interval_of([[-0.2, 1.0, 1.1, 1.2, 1.3], [0.0] * 5], mean_apart)
    assert low < 0.2


def test_a_ratio_has_an_interval_too() -> None:
    def ratio(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return a.mean(axis) / b.mean(axis)

    rng = np.random.default_rng(3)
    low, high = interval_of([10 + rng.normal(0, 0.5, 6), 2 + rng.normal(0, 0.05, 6)], ratio)
    assert 4 < low < 5 < high < 6


def test_the_same_values_give_the_same_interval() -> None:
    rows = [[1.0, 2.0, 4.0, 3.0, 2.5], [0.5, 1.0, 3.5, 3.0, 1.0]]
    assert interval_of(rows, mean_apart) == interval_of(rows, mean_apart)
