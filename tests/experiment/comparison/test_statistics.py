from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from synoptic.experiment.comparison.statistics import bootstrap, difference, estimate

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
    assert bootstrap([[7.0] * 5, [2.0] * 5], mean_apart) == (5.0, 5.0)


def test_one_seed_cannot_be_drawn_again() -> None:
    assert all(math.isnan(end) for end in bootstrap([[1.0], [2.0]], mean_apart))


def test_the_bootstrap_pairs_seeds() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 10, 8)
    low, high = bootstrap([hard + 1 + rng.normal(0, 0.1, 8), hard], mean_apart)
    assert 0.7 < low < high < 1.3


@pytest.mark.parametrize("seeds", [5, 8])
def test_the_bootstrap_covers_about_as_often_as_it_says(seeds: int) -> None:
    """200 experiments with a known effect of 0; the plain percentile interval of 5 values covers about 83 %."""
    rng = np.random.default_rng(1)
    covered = sum(
        low <= 0 <= high
        for low, high in (bootstrap([rng.normal(0, 1, seeds), np.zeros(seeds)], mean_apart) for _ in range(200))
    )
    assert covered >= 0.89 * 200


def test_the_bootstrap_gives_the_same_interval_again() -> None:
    rows = [[1.0, 2.0, 4.0, 3.0, 2.5], [0.5, 1.0, 3.5, 3.0, 1.0]]
    assert bootstrap(rows, mean_apart) == bootstrap(rows, mean_apart)
