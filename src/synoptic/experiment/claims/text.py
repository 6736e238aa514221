"""Effects, intervals and verdicts as people read them, the same on a terminal and on a page."""

from __future__ import annotations

import math

from synoptic.experiment.claims.check import Outcome
from synoptic.experiment.claims.expression import Unit, unit
from synoptic.experiment.claims.judge import Word
from synoptic.experiment.claims.relation import Relation
from synoptic.experiment.display.numbers import bytes_text, seconds_text

SYMBOLS: dict[Word, str] = {"holds": "✓", "fails": "✗", "undecided": "?"}
WORDS: dict[Word, str] = {"holds": "holds", "fails": "does not hold", "undecided": "undecided"}
UNITS: dict[Unit, str] = {"percent": " %", "points": " pp", "times": "x", "bytes": "", "seconds": "", "number": ""}
NONE = "n/a"


def verdict_text(word: Word) -> str:
    """``✓ holds``, ``✗ does not hold`` or ``? undecided``."""
    return f"{SYMBOLS[word]} {WORDS[word]}"


def effect_text(outcome: Outcome) -> str:
    """The effect in its natural unit: ``+12.3 pp`` (percentage points), ``82.7 %``, ``11.7x``, ``2.1 MB``."""
    kind, effect = unit_of(outcome.claim.parsed), outcome.verdict.effect
    return f"{_number(effect, kind, signed=kind == 'points')}{UNITS[kind]}" if math.isfinite(effect) else NONE


def interval_text(outcome: Outcome) -> str:
    """``[10.1, 14.5]`` in the unit of the effect; empty where there is none."""
    kind, verdict = unit_of(outcome.claim.parsed), outcome.verdict
    if not math.isfinite(verdict.low):
        return ""
    return f"[{_number(verdict.low, kind)}, {_number(verdict.high, kind)}]"


def value_text(outcome: Outcome, number: float) -> str:
    """One seed's effect, without its unit."""
    return _number(number, unit_of(outcome.claim.parsed))


def bound_text(relation: Relation) -> str:
    """What the effect must be: ``> 0``, ``≥ 10``, ``0 ± 1``, ``= 1`` (in the unit of the effect)."""
    kind = unit_of(relation)
    scale = 100 if kind in ("points", "percent") else 1
    threshold = f"{scale * relation.threshold:g}"
    if relation.sign == "==":
        return f"{threshold} ± {scale * relation.tolerance:g}" if relation.tolerance else f"= {threshold}"
    return f"{relation.sign.replace('>=', '≥').replace('<=', '≤')} {threshold}"


def unit_of(relation: Relation) -> Unit:
    """What the effect of a relation is measured in."""
    return unit(relation.steps[0])


def _number(value: float, kind: Unit, signed: bool = False) -> str:
    if kind in ("points", "percent"):
        # Adding zero takes the sign off what rounds to -0.0.
        return f"{round(100 * value, 1) + 0.0:{'+' if signed else ''}.1f}"
    if kind == "bytes":
        return f"{'-' * (value < 0)}{bytes_text(abs(value))}"
    if kind == "seconds":
        return f"{'-' * (value < 0)}{seconds_text(abs(value))}"
    return f"{value:.1f}" if kind == "times" and abs(value) >= 10 else f"{value:.3g}"
