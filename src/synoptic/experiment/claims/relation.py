"""What a claim says of measured numbers, as text and as something that can be decided.

    mean(fedavg@iid: shared/global/accuracy) - mean(local@iid: personal/global/accuracy) > 0
    mean(fedavg: bytes/total) / mean(promptfl: bytes/total) >= 10
    mean(fedprox: shared/base/accuracy) - mean(fedavg: shared/base/accuracy) == 0 within 0.01
    decreasing(local@[iid, mild, disjoint]: personal/global/accuracy)
    increasing([small, large]: shared/base/accuracy)
    increasing(mean(product@*: shared/base/loss) - mean(factor@*: shared/base/loss) over [mild, disjoint])

The **effect** is the left side, the **threshold** the right. Where the right side has terms they are taken to the
left, so the effect of ``A > B`` is ``A - B`` and its threshold 0. Of something monotone the effect is the smallest step
in the claimed direction, which must be more than 0.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import pairwise

from synoptic.core.errors import SynopticError
from synoptic.experiment.claims.expression import EVERY, Binary, Expression, Number, Term, terms, under
from synoptic.experiment.claims.syntax import HOW, comparison_of, constant, expression_of

LONGEST = 1000
_WITHIN = re.compile(r"(.*)\bwithin\b([^:]*)")
_MONOTONE = re.compile(r"(increasing|decreasing)\s*\((.*)\)")
_OVER = re.compile(r"(.*)\bover\s*\[([^\[\]]*)\]\s*")
_SERIES = re.compile(r"\s*(\[[^\[\]]*\]|[^\[\]@]+?)\s*(?:@\s*(\[[^\[\]]*\]|[^\[\]@]+?)\s*)?:([^\[\]@:]+)")
_MIRRORED = {">": "<", ">=": "<=", "<": ">", "<=": ">=", "==": "=="}


@dataclass(frozen=True)
class Region:
    """The effects that a claim allows: from ``low`` to ``high``; ``strict`` leaves the ends out."""

    low: float = -math.inf
    high: float = math.inf
    strict: bool = False

    def holds(self, low: float, high: float) -> bool:
        """Whether all of an interval is allowed."""
        return self.low < low and high < self.high if self.strict else self.low <= low and high <= self.high

    def fails(self, low: float, high: float) -> bool:
        """Whether none of it is."""
        return high <= self.low or low >= self.high if self.strict else high < self.low or low > self.high


@dataclass(frozen=True)
class Relation:
    """A claim about an effect.

    Attributes:
        text: as it was written.
        steps: the effect is the smallest of these; one, unless something is claimed to be monotone.
        sign: ``> >= < <=`` or ``==``, with the effect on its left.
        threshold: what the effect is compared with.
        tolerance: how far from the threshold ``==`` allows.
    """

    text: str
    steps: tuple[Expression, ...]
    sign: str
    threshold: float
    tolerance: float = 0.0

    @property
    def terms(self) -> tuple[Term, ...]:
        """What must be measured, each once."""
        return tuple(dict.fromkeys(term for step in self.steps for term in terms(step)))

    @property
    def region(self) -> Region:
        """Which effects are allowed."""
        if self.sign == "==":
            return Region(self.threshold - self.tolerance, self.threshold + self.tolerance)
        if self.sign in (">", ">="):
            return Region(low=self.threshold, strict=self.sign == ">")
        return Region(high=self.threshold, strict=self.sign == "<")


def parse_relation(text: str) -> Relation:
    """A relation from its text.

    Raises:
        SynopticError: what cannot be read, and how it should be written.
    """
    plain = " ".join(text.split())
    if len(plain) > LONGEST:
        raise SynopticError(f"a relation of {len(plain):,} characters is too long", "split the claim")
    monotone = _MONOTONE.fullmatch(plain)
    return _monotone(plain, *monotone.groups()) if monotone else _compared(plain)


def _compared(text: str) -> Relation:
    within = _WITHIN.fullmatch(text)
    left, sign, right = comparison_of(within.group(1) if within else text)
    if (sign == "==") != (within is not None):
        raise SynopticError(f"'{text}' says equal but not how nearly, or how nearly but not equal",
                            "write it like A - B == 0 within 0.01")  # fmt: skip
    tolerance = constant(expression_of(within.group(2))) if within else 0.0
    if tolerance < 0:
        raise SynopticError(f"the tolerance of '{text}' is below zero", "use a number from 0 on")
    if not terms(left):
        left, sign, right = right, _MIRRORED[sign], left
    if not terms(left):
        raise SynopticError(f"'{text}' compares numbers with each other and measures nothing", HOW)
    if terms(right):
        left, right = Binary(left, "-", right), Number(0.0)
    if any(term.condition == EVERY for term in terms(left)):
        raise SynopticError(f"'{text}' has @* outside of increasing(...) and decreasing(...)", "name one condition")
    return Relation(text, (left,), sign, constant(right), tolerance)


def _monotone(text: str, direction: str, inside: str) -> Relation:
    over = _OVER.fullmatch(inside)
    values = _values_over(*over.groups()) if over else _values_of(inside)
    if len(values) < 2:
        raise SynopticError(f"'{inside}' has fewer than two values to go through", "list at least two in [ ]")
    pairs = [(after, before) if direction == "increasing" else (before, after) for before, after in pairwise(values)]
    return Relation(text, tuple(Binary(more, "-", less) for more, less in pairs), ">", 0.0)


def _values_over(text: str, listed: str) -> list[Expression]:
    expression = expression_of(text)
    if all(term.condition != EVERY for term in terms(expression)):
        raise SynopticError(f"'{text.strip()}' does not say what changes from condition to condition",
                            "write @* behind an entry")  # fmt: skip
    return [under(expression, name) for name in _listed(listed)]


def _values_of(inside: str) -> list[Expression]:
    match = _SERIES.fullmatch(inside)
    if match is None:
        raise SynopticError(f"'{inside}' is nothing that can be monotone",
                            "write it like fedavg@[iid, disjoint]: shared/global/accuracy")  # fmt: skip
    entry, condition, metric = match.groups()
    entries = _listed(entry)
    conditions: list[str | None] = [None] if condition is None else [*_listed(condition)]
    if len(entries) > 1 and len(conditions) > 1:
        raise SynopticError(f"'{inside}' goes through two lists at once", "make one of them a single name")
    return [Term(one, other, metric.strip()) for one in entries for other in conditions]


def _listed(text: str) -> list[str]:
    names = [name.strip() for name in text.strip().removeprefix("[").removesuffix("]").split(",")]
    if not all(names) or EVERY in names or len(set(names)) < len(names):
        raise SynopticError(f"'{text}' does not name one thing after another", "write it like [iid, disjoint]")
    return names
