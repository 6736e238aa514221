"""Arithmetic on means over seeds: numbers, terms such as ``mean(fedavg@iid: shared/global/accuracy)``, ``+ - * /``.

Legend: S seeds.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Unit = Literal["percent", "points", "bytes", "seconds", "times", "number"]
"""What a value is shown as; ``points`` is a difference of shares, ``times`` a ratio of like things."""

OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
EVERY = "*"
"""Stands for each condition of a list in turn."""


@dataclass(frozen=True)
class Term:
    """A metric of one entry of a suite under one condition; None where the suite has only one."""

    entry: str
    condition: str | None
    metric: str

    def __str__(self) -> str:
        return f"mean({self.entry}{'' if self.condition is None else f'@{self.condition}'}: {self.metric})"


@dataclass(frozen=True)
class Number:
    """A constant."""

    value: float


@dataclass(frozen=True)
class Binary:
    """Two expressions and what is done with them."""

    left: Expression
    sign: str
    right: Expression


Expression = Term | Number | Binary


def terms(expression: Expression) -> tuple[Term, ...]:
    """The terms of an expression, from left to right, repeats included."""
    if isinstance(expression, Binary):
        return (*terms(expression.left), *terms(expression.right))
    return (expression,) if isinstance(expression, Term) else ()


def value(expression: Expression, known: Mapping[Term, Floats]) -> Floats:
    """The value for given values of its terms, all of one shape; a division by zero gives no finite number."""
    if isinstance(expression, Term):
        return known[expression]
    if isinstance(expression, Number):
        return np.asarray(expression.value, dtype=float)
    left, right = value(expression.left, known), value(expression.right, known)
    with np.errstate(all="ignore"):
        result: Floats = np.asarray(OPERATIONS[expression.sign](left, right), dtype=float)
    return result


def under(expression: Expression, condition: str) -> Expression:
    """The expression with ``condition`` in the place of every ``*``."""
    if isinstance(expression, Term):
        return replace(expression, condition=condition) if expression.condition == EVERY else expression
    if isinstance(expression, Binary):
        return Binary(under(expression.left, condition), expression.sign, under(expression.right, condition))
    return expression


def unit(expression: Expression) -> Unit:
    """What the value is measured in; a plain number where units do not go together."""
    if isinstance(expression, Term):
        return unit_of(expression.metric)
    if isinstance(expression, Number):
        return "number"
    left, right = unit(expression.left), unit(expression.right)
    if expression.sign in "+-":
        return _of_sum(left, right, expression.sign)
    if expression.sign == "*":
        return left if right == "number" else right if left == "number" else "number"
    return "times" if left == right != "number" else left if right == "number" else "number"


def unit_of(metric: str) -> Unit:
    """What a metric is measured in."""
    parts = metric.split("/")
    if "accuracy" in parts:
        return "percent"
    if parts[0] == "bytes":
        return "bytes"
    return "seconds" if parts[0] == "seconds" else "number"


def _of_sum(left: Unit, right: Unit, sign: str) -> Unit:
    shares: tuple[Unit, ...] = ("percent", "points")
    if left in shares and right in shares:
        return "points" if sign == "-" or left == right == "points" else "percent"
    if "number" in (left, right):
        other = right if left == "number" else left
        return "points" if other == "percent" and sign == "-" else other
    return left if left == right else "number"
