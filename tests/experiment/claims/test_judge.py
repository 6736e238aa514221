from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimed import SCORE, group, record
from synoptic.core import SynopticError
from synoptic.experiment.claims.expression import Term
from synoptic.experiment.claims.judge import Verdict, check_place, judge
from synoptic.experiment.claims.relation import parse_relation
from synoptic.experiment.comparison.groups import Group
from synoptic.experiment.comparison.statistics import difference

APART = "mean(b: shared/base/accuracy) - mean(a: shared/base/accuracy)"


def verdict(relation: str, *groups: Group, seeds: int = 5) -> Verdict:
    return judge(parse_relation(relation), groups, range(seeds))


def noisy(mean: float, noise: float = 0.01, seeds: int = 5, stream: int = 0) -> Sequence[float]:
    return [float(value) for value in mean + noise * np.random.default_rng(stream).normal(size=seeds)]


@pytest.mark.parametrize(("by", "word"), [(0.1, "holds"), (-0.1, "fails"), (0.0, "undecided")])
def test_a_known_difference(by: float, word: str) -> None:
    found = verdict(f"{APART} > 0", group("a", noisy(0.5)), group("b", noisy(0.5 + by, stream=1)))
    assert found.word == word
    assert found.low < found.effect < found.high
    assert abs(found.effect - by) < 0.02
    assert found.seeds == (0, 1, 2, 3, 4)
    assert (found.reason == "") == (word != "undecided")


def test_what_seeds_share_cancels() -> None:
    shared = noisy(0.5, noise=0.2)
    other = [value + 0.01 + 0.001 * place for place, value in enumerate(shared)]
    assert verdict(f"{APART} > 0", group("a", shared), group("b", other)).word == "holds"
    assert verdict(f"{APART} > 0", group("a", shared), group("b", other[::-1])).word == "undecided"


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=4, max_size=6))
def test_the_effect_is_the_mean_of_paired_differences(pairs: list[tuple[float, float]]) -> None:
    one, two = zip(*pairs, strict=True)
    found = verdict(f"{APART} > 0", group("a", one), group("b", two), seeds=len(pairs))
    paired = difference(two, one)
    assert found.effect == pytest.approx(paired.estimate.mean, abs=1e-12)
    assert found.values == pytest.approx(paired.estimate.values, abs=1e-12)
    assert found.low <= found.effect + 1e-12
    assert found.high >= found.effect - 1e-12


@pytest.mark.parametrize(
    ("relation", "word"),
    [
        (f"{APART} == 0.1 within 0.05", "holds"),
        (f"{APART} == 0 within 0.05", "fails"),
        (f"{APART} == 0.2 within 0.05", "fails"),
        (f"{APART} == 0.11 within 0.01", "undecided"),
        (f"{APART} < 0.2", "holds"),
        (f"{APART} <= 0", "fails"),
        ("mean(b: shared/base/accuracy) / mean(a: shared/base/accuracy) >= 1.1", "holds"),
        ("mean(b: shared/base/accuracy) > mean(a: shared/base/accuracy) + 0.2", "fails"),
    ],
)
def test_within_below_and_ratios(relation: str, word: str) -> None:
    assert verdict(relation, group("a", noisy(0.5)), group("b", noisy(0.6, stream=1))).word == word


@pytest.mark.parametrize(
    ("means", "word"),
    [
        ((0.3, 0.5, 0.7), "holds"),
        ((0.3, 0.7, 0.5), "fails"),
        ((0.3, 0.5, 0.5), "undecided"),
        ((0.7, 0.5, 0.3), "fails"),
    ],
)
def test_monotone_in_a_condition(means: Sequence[float], word: str) -> None:
    groups = [group("a", noisy(mean, stream=place), name) for place, (mean, name) in enumerate(zip(means, "xyz",
              strict=True))]  # fmt: skip
    up = verdict("increasing(a@[x, y, z]: shared/base/accuracy)", *groups)
    assert up.word == word
    assert up.effect == pytest.approx(min(np.diff(means)), abs=0.03)
    down = verdict("decreasing(a@[z, y, x]: shared/base/accuracy)", *groups)
    assert (down.word, down.effect, down.low, down.high) == (up.word, up.effect, up.low, up.high)


def test_monotone_that_is_nearly_flat_is_seldom_called_false() -> None:
    """All steps are just above zero and the noise is large: to say "fails" would be an error (at most 5 % wanted)."""
    rng = np.random.default_rng(0)
    relation = parse_relation("increasing([a, b, c]: shared/base/accuracy)")
    words = []
    for _ in range(60):
        groups = [group(label, 0.5 + 0.1 * rng.normal(size=8)) for label in "abc"]
        words.append(judge(relation, groups, range(8)).word)
    assert words.count("fails") <= 6
    assert words.count("holds") <= 6


def test_what_is_counted_needs_no_interval() -> None:
    groups = [group("a", noisy(0.5), bytes_up=1000.0), group("b", noisy(0.5), bytes_up=100.0)]
    found = verdict("mean(a: bytes/total) / mean(b: bytes/total) >= 10", *groups)
    assert (found.word, found.effect, found.low, found.high) == ("holds", 10.0, 10.0, 10.0)
    few = [Group(one.label, one.runs[:2]) for one in groups]
    assert verdict("mean(a: bytes/up) / mean(b: bytes/up) >= 10", *few, seeds=2).word == "holds"
    assert verdict("mean(a: bytes/up) / mean(b: bytes/up) > 10", *few, seeds=2).word == "fails"


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_few_seeds_decide_nothing(seeds: int) -> None:
    groups = [group("a", [0.1] * seeds), group("b", [0.9] * seeds)]
    found = verdict(f"{APART} > 0", *groups, seeds=seeds)
    assert found.word == "undecided"
    assert found.measured
    assert "too few, 4 are needed" in found.reason


def test_a_missing_seed_leaves_the_claim_open() -> None:
    whole = group("a", noisy(0.5))
    gap = Group("b", tuple(run for run in group("b", noisy(0.9)).runs if run.seed != 2))
    found = verdict(f"{APART} > 0", whole, gap)
    assert (found.word, found.seeds) == ("undecided", (0, 1, 3, 4))
    assert found.reason == "b lacks seed 2"
    none = verdict(f"{APART} > 0", whole)
    assert (none.word, none.measured) == ("undecided", False)
    assert none.reason == "b lacks seed 0; b lacks seed 1; and 3 more"


def test_an_unknown_metric_is_told_with_the_nearest() -> None:
    with pytest.raises(
        SynopticError, match=r"the runs of a have no metric 'shared/bass/accuracy'; did you mean 'shared/b"
    ):
        verdict("mean(a: shared/bass/accuracy) > 0", group("a", noisy(0.5)))


@pytest.mark.parametrize("bad", [math.nan, math.inf, None])
def test_values_that_are_no_numbers_decide_nothing(bad: float | None) -> None:
    runs = (*group("a", noisy(0.5, seeds=4)).runs, record(4, {SCORE: bad}))
    found = verdict("mean(a: shared/base/accuracy) > 0", Group("a", runs))
    assert (found.word, found.reason) == ("undecided", "a value is not a finite number")


def test_a_division_by_zero_decides_nothing() -> None:
    groups = [group("a", noisy(0.5)), group("b", [0.0] * 5)]
    assert verdict("mean(a: shared/base/accuracy) / mean(b: shared/base/accuracy) > 0", *groups).word == "undecided"
    sometimes = [groups[0], group("b", [0.0, 0.0, 0.0, 0.0, 0.1])]
    found = verdict("mean(a: shared/base/accuracy) / mean(b: shared/base/accuracy) > 0", *sometimes)
    assert (found.word, found.reason) == ("undecided", "the interval is not finite")


@pytest.mark.parametrize(
    ("term", "part"),
    [
        (Term("c", None, "m"), "no entry 'c'"),
        (Term("a", None, "m"), "write a@ and one of: iid, mixed"),
        (Term("a", "mixd", "m"), "did you mean 'mixed'"),
    ],
)
def test_what_a_suite_has_not_is_told(term: Term, part: str) -> None:
    with pytest.raises(SynopticError, match=part):
        check_place(term, ["a", "b"], ["iid", "mixed"])
    check_place(Term("a", "iid", "m"), ["a", "b"], ["iid", "mixed"])


def test_a_condition_where_there_are_none_is_told() -> None:
    with pytest.raises(SynopticError, match="leave @iid out"):
        check_place(Term("a", "iid", "m"), ["a"], [""])
