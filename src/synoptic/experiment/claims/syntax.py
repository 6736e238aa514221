"""From text to expressions: Python's own parser, of which numbers, ``+ - * /`` and parentheses are let in.

Terms are replaced by names before parsing, and nothing is ever evaluated as code.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping

from synoptic.core.errors import SynopticError
from synoptic.experiment.claims.expression import Binary, Expression, Number, Term, terms, value

HOW = "write it like mean(fedavg@iid: shared/global/accuracy) - mean(local@iid: personal/global/accuracy) > 0"
DEEPEST = 50
COMPARISONS: dict[type[ast.cmpop], str] = {ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<=", ast.Eq: "=="}
_SIGNS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_TERM = re.compile(r"\bmean\s*\(([^()]*)\)")
_ODD = re.compile(r"[^\W\d]\w*|[^\d\s.()<>=*/+-]")
_EXPONENT = re.compile(r"(?<=[\d.])[eE](?=[+-]?\d)")


def expression_of(text: str) -> Expression:
    """An expression from its text.

    Raises:
        SynopticError: what cannot be read, and how it should be written.
    """
    node, known = _parsed(text)
    return _converted(node, known, text)


def comparison_of(text: str) -> tuple[Expression, str, Expression]:
    """Left side, sign (``> >= < <= ==``) and right side of a comparison.

    Raises:
        SynopticError: no comparison, more than one, or a side that cannot be read.
    """
    node, known = _parsed(text)
    if not isinstance(node, ast.Compare):
        raise SynopticError(f"'{text}' compares nothing", HOW)
    sign = COMPARISONS.get(type(node.ops[0]))
    if len(node.ops) > 1 or sign is None:
        raise SynopticError(f"'{text}' must have one of > >= < <= ==, once", HOW)
    return _converted(node.left, known, text), sign, _converted(node.comparators[0], known, text)


def constant(expression: Expression) -> float:
    """The value of an expression without terms.

    Raises:
        SynopticError: it has terms, or is not finite.
    """
    result = math.nan if terms(expression) else float(value(expression, {}))
    if not math.isfinite(result):
        raise SynopticError("a threshold or tolerance must be a finite number", HOW)
    return result


def _parsed(text: str) -> tuple[ast.expr, Mapping[str, Term]]:
    """A syntax tree in which names stand for terms, and what each name stands for."""
    odd = _ODD.search(_EXPONENT.sub("", _TERM.sub(" ", text)))
    if odd is not None:
        raise SynopticError(f"'{odd.group()}' has no place in '{text.strip()}'",
                            "measured things are written mean(ENTRY: METRIC), all else as numbers")  # fmt: skip
    known: dict[str, Term] = {}

    def name(match: re.Match[str]) -> str:
        known[f"t{len(known)}"] = _term(match.group(1))
        return f" t{len(known) - 1} "

    try:
        return ast.parse(_TERM.sub(name, text).strip(), mode="eval").body, known
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise SynopticError(f"'{text.strip()}' cannot be read", HOW) from error


def _term(inside: str) -> Term:
    where, colon, metric = (part.strip() for part in inside.rpartition(":"))
    entry, at, condition = (part.strip() for part in where.partition("@"))
    if not colon or not entry or not metric or (at and not condition):
        raise SynopticError(f"'mean({inside})' does not say what is measured of whom",
                            "write mean(ENTRY: METRIC) or mean(ENTRY@CONDITION: METRIC)")  # fmt: skip
    return Term(entry, condition if at else None, metric)


def _converted(node: ast.expr, known: Mapping[str, Term], text: str, depth: int = 0) -> Expression:
    if depth > DEEPEST:
        raise SynopticError(f"'{text[:40].strip()}...' is nested too deeply", "split the claim")
    if isinstance(node, ast.Name):
        return known[node.id]
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return _number(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        inner = _converted(node.operand, known, text, depth + 1)
        return inner if isinstance(node.op, ast.UAdd) else _negative(inner)
    if isinstance(node, ast.BinOp) and type(node.op) in _SIGNS:
        left, right = (_converted(side, known, text, depth + 1) for side in (node.left, node.right))
        return Binary(left, _SIGNS[type(node.op)], right)
    raise SynopticError(f"'{text.strip()}' holds something that is no arithmetic",
                        "use numbers, mean(...), + - * / and parentheses")  # fmt: skip


def _number(given: int | float) -> Number:
    try:
        number = float(given)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise SynopticError("a number is too large", "use one below 1e308")
    return Number(number)


def _negative(inner: Expression) -> Expression:
    return Number(-inner.value) if isinstance(inner, Number) else Binary(Number(0.0), "-", inner)
