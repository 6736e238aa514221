"""Means over seeds, and how sure one may be of them.

Runs of one seed share the split, the initial weights and the batches, whatever the method; differences are therefore
taken seed by seed. Legend: S seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 9999
LEAST = 4
"""Seeds below which nothing is decided: an interval from three values says little more than that they are three."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % interval; one seed has none (both ends are NaN)."""

    mean: float
    low: float
    high: float
    values: tuple[float, ...]

    @property
    def half(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Difference:
    """Paired differences over the seeds that both have: mean, 95 % interval, and who was better how often."""

    estimate: Estimate
    wins: int
    ties: int
    losses: int


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and Student's t interval of S independent values."""
    from scipy import stats

    array = np.asarray(values, dtype=float)
    mean = float(array.mean())
    if len(array) < 2:
        return Estimate(mean, float("nan"), float("nan"), tuple(values))
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(array) - 1) * array.std(ddof=1) / np.sqrt(len(array)))
    return Estimate(mean, mean - half, mean + half, tuple(values))


def difference(values: Sequence[float], baseline: Sequence[float], higher_is_better: bool = True) -> Difference:
    """``values - baseline``, seed by seed (both in the same order of seeds)."""
    apart = np.asarray(values, dtype=float) - np.asarray(baseline, dtype=float)
    better = apart if higher_is_better else -apart
    return Difference(
        estimate([float(value) for value in apart]),
        int((better > 0).sum()),
        int((better == 0).sum()),
        int((better < 0).sum()),
    )


def interval_of(
    samples: Sequence[Sequence[float]], statistic: Callable[..., Floats], confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """A 95 % interval of a statistic of several measurements taken on the same S seeds.

    The wider, end by end, of two: a bootstrap, in which whole seeds are drawn with replacement, the same for all
    measurements; and Student's t on jackknife pseudo-values (Tukey 1958), which for means and their differences is the
    ordinary paired t interval. The bootstrap alone is too short: it cannot leave the range of so few seeds.

    Args:
        samples: one row of S values for each measurement.
        statistic: takes these rows (arrays ``[..., S]``) and the keyword ``axis``; returns ``[...]``.
        confidence: another level than 95 %.

    Returns:
        Low and high end; NaN with fewer than two seeds. What does not vary has an interval of no width.
    """
    rows = [np.asarray(row, dtype=float) for row in samples]
    if len(rows[0]) < 2:
        return float("nan"), float("nan")
    if all(np.ptp(row) == 0 for row in rows):
        value = float(statistic(*rows, axis=-1))
        return value, value
    drawn, student = _bootstrap(rows, statistic, confidence), _jackknife(rows, statistic, confidence)
    return min(drawn[0], student[0]), max(drawn[1], student[1])


def _bootstrap(rows: list[Floats], statistic: Callable[..., Floats], confidence: float) -> tuple[float, float]:
    """Percentiles at a level widened for few seeds (Hesterberg 2015, "expanded percentile")."""
    from scipy import stats

    seeds = len(rows[0])
    tail = stats.norm.cdf(-np.sqrt(seeds / (seeds - 1)) * stats.t.ppf(0.5 + confidence / 2, seeds - 1))
    result = stats.bootstrap(rows, statistic, paired=True, vectorized=True, n_resamples=RESAMPLES, axis=-1,
                             confidence_level=1 - 2 * tail, method="percentile",
                             rng=np.random.default_rng(0))  # fmt: skip
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _jackknife(rows: list[Floats], statistic: Callable[..., Floats], confidence: float) -> tuple[float, float]:
    """Student's t interval of what each seed contributes."""
    from scipy import stats

    seeds = len(rows[0])
    whole = float(statistic(*rows, axis=-1))
    left_out = np.array([float(statistic(*(np.delete(row, seed) for row in rows), axis=-1)) for seed in range(seeds)])
    pseudo = seeds * whole - (seeds - 1) * left_out
    half = float(stats.t.ppf(0.5 + confidence / 2, seeds - 1) * pseudo.std(ddof=1) / np.sqrt(seeds))
    return whole - half, whole + half
