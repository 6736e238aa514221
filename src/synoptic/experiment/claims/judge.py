"""Whether a claim holds, from the runs it is about.

All terms are resampled with the same seeds (runs of one seed share split, initial weights and batches), and the claim
holds if the whole 95 % interval of its effect satisfies it, fails if none of it does, and is undecided otherwise.

Legend: S seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from synoptic.core.errors import SynopticError, nearest
from synoptic.experiment.claims.expression import Expression, Floats, Term, terms, value
from synoptic.experiment.claims.metrics import absent, full_name, is_counted
from synoptic.experiment.claims.relation import Relation
from synoptic.experiment.comparison.groups import Group
from synoptic.experiment.comparison.statistics import CONFIDENCE, LEAST, interval_of

STRADDLES = "part of the interval satisfies the claim"
"""Why most undecided claims are undecided."""

Word = Literal["holds", "fails", "undecided"]
Place = tuple[str, str]
"""A suite's label and condition."""


@dataclass(frozen=True)
class Verdict:
    """What came of one claim.

    Attributes:
        word: ``holds``, ``fails`` or ``undecided``.
        effect: on the means over seeds; NaN where it could not be measured.
        low, high: its 95 % interval; NaN where there is none.
        seeds: over which it was taken.
        values: the effect of each seed by itself.
        reason: why an undecided claim is undecided.
    """

    word: Word
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    seeds: tuple[int, ...] = ()
    values: tuple[float, ...] = ()
    reason: str = ""

    @property
    def measured(self) -> bool:
        """Whether the effect is a number."""
        return math.isfinite(self.effect)


def judge(relation: Relation, groups: Sequence[Group], seeds: Sequence[int]) -> Verdict:
    """Decide a relation.

    Args:
        relation: from `synoptic.experiment.claims.relation.parse_relation`.
        groups: finished runs of the suite.
        seeds: which every term must have; what is missing makes the claim undecided, because the seeds that are left
            may be the ones that went well.

    Raises:
        SynopticError: a metric that the runs do not have.
    """
    by_place = {(group.label, group.condition): group for group in groups}
    places = {term: place(term, tuple(by_place)) for term in relation.terms}
    missing = [f"{term.entry}{f'@{term.condition}' if term.condition else ''} lacks seed {seed}"
               for term, where in places.items() for seed in seeds
               if where is None or seed not in by_place[where].seeds]  # fmt: skip
    common = [seed for seed in sorted(seeds)
              if all(where is not None and seed in by_place[where].seeds for where in places.values())]  # fmt: skip
    if not common:
        return Verdict("undecided", reason=_some(missing) or "there are no seeds")
    measured = {term: _values(term, by_place[where], common) for term, where in places.items() if where is not None}
    verdict = _decided(relation, measured, tuple(common))
    return verdict if not missing else _undecided(verdict, _some(missing))


def place(term: Term, known: Sequence[Place]) -> Place | None:
    """The group that a term speaks of; None if it is not there."""
    if term.condition is not None:
        return (term.entry, term.condition) if (term.entry, term.condition) in known else None
    found = [one for one in known if one[0] == term.entry]
    return found[0] if len(found) == 1 else None


def check_place(term: Term, labels: Sequence[str], conditions: Sequence[str]) -> None:
    """Refuse a term that a suite cannot give.

    Raises:
        SynopticError: no such entry or condition, or several conditions and none named.
    """
    if term.entry not in labels:
        raise SynopticError(f"the suite has no entry '{term.entry}'", nearest(term.entry, labels))
    if term.condition is None and len(conditions) > 1:
        raise SynopticError(f"{term} does not say under which condition",
                            f"write {term.entry}@ and one of: {', '.join(conditions)}")  # fmt: skip
    if term.condition is not None and term.condition not in conditions:
        fix = nearest(term.condition, conditions) if any(conditions) else f"leave @{term.condition} out"
        raise SynopticError(f"the suite has no condition '{term.condition}'", fix)


def _values(term: Term, group: Group, seeds: Sequence[int]) -> Floats:
    runs = {run.seed: run for run in group.runs}
    return np.array([_value(term, runs[seed].measures(), group) for seed in seeds], dtype=float)


def _value(term: Term, measures: Mapping[str, Any], group: Group) -> float:
    name = full_name(term.metric, measures)
    if name is None:
        raise SynopticError(f"the runs of {group.label} have no metric '{term.metric}'", absent(term.metric, measures))
    number = measures[name]
    return math.nan if number is None else float(number)


def _decided(relation: Relation, measured: Mapping[Term, Floats], seeds: tuple[int, ...]) -> Verdict:
    means = {term: row.mean(axis=-1) for term, row in measured.items()}
    each = np.broadcast_to(_smallest(relation, measured), (len(seeds),))
    found = Verdict("undecided", float(_smallest(relation, means)), seeds=seeds, values=tuple(map(float, each)))
    if not found.measured:
        return _undecided(found, "a value is not a finite number")
    if len(seeds) < LEAST and not _fixed(measured):
        return _undecided(found, f"{len(seeds)} {'seed is' if len(seeds) == 1 else 'seeds are'} too few, "
                          f"{LEAST} are needed")  # fmt: skip
    low, high = _interval(relation, measured)
    if not (math.isfinite(low) and math.isfinite(high)):
        return _undecided(found, "the interval is not finite")
    region = relation.region
    word: Word = "holds" if region.holds(low, high) else "fails" if region.fails(low, high) else "undecided"
    return Verdict(word, found.effect, low, high, seeds, found.values, STRADDLES if word == "undecided" else "")


def _interval(relation: Relation, measured: Mapping[Term, Floats]) -> tuple[float, float]:
    """Of the effect; of several steps, an interval of the smallest.

    That the smallest step is below every step's low end is no likelier than that one certain step is; that it is above
    some step's high end may be k times as likely, so high ends are taken at a level of 1 - 0.05 / k (Bonferroni).
    Resampling the smallest step itself would not do: where steps are alike it is far below all of them.
    """
    ends = [_of_step(step, measured, CONFIDENCE)[0] for step in relation.steps]
    corrected = 1 - (1 - CONFIDENCE) / len(relation.steps)
    return min(ends), min(_of_step(step, measured, corrected)[1] for step in relation.steps)


def _of_step(step: Expression, measured: Mapping[Term, Floats], confidence: float) -> tuple[float, float]:
    order = tuple(dict.fromkeys(terms(step)))

    def effect(*rows: Floats, axis: int = -1) -> Floats:
        return value(step, {term: row.mean(axis=axis) for term, row in zip(order, rows, strict=True)})

    with np.errstate(invalid="ignore"):
        return interval_of([[float(number) for number in measured[term]] for term in order], effect, confidence)


def _smallest(relation: Relation, known: Mapping[Term, Floats]) -> Floats:
    """The effect: the smallest step."""
    result: Floats = np.minimum.reduce([value(step, known) for step in relation.steps])
    return result


def _fixed(measured: Mapping[Term, Floats]) -> bool:
    """Whether seeds make no difference: counted things that are the same for at least two."""
    return all(is_counted(term.metric) and len(row) > 1 and np.ptp(row) == 0 for term, row in measured.items())


def _undecided(verdict: Verdict, reason: str) -> Verdict:
    return Verdict("undecided", verdict.effect, verdict.low, verdict.high, verdict.seeds, verdict.values, reason)


def _some(sentences: Sequence[str], most: int = 2) -> str:
    more = len(sentences) - most
    return "; ".join([*sentences[:most], *([f"and {more} more"] if more > 0 else [])])
