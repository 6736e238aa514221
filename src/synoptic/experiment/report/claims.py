"""Rows of a claims file as a table: verdict first, in a word and a sign."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from synoptic.core.errors import SynopticError, nearest
from synoptic.experiment.display.numbers import bytes_text, seconds_text
from synoptic.experiment.report.parts import DASH, FIXED, MINUS, Block, Cell, Fold, Grid, row

VERDICTS = {"holds": "✓ holds", "fails": "✗ does not hold", "undecided": "? undecided"}
TEXTS: dict[str, Callable[[float], str]] = {
    "share": lambda value: f"{100 * value:.1f} %", "points": lambda value: f"{100 * value:.1f} points",
    "ratio": lambda value: f"{value:.3g}x", "bytes": bytes_text,
    "seconds": seconds_text,
}  # fmt: skip
"""How a number of a unit is written; others stay numbers."""

NEEDED = ("id", "statement", "verdict")


def check_claims(rows: Any, where: str = "the claims") -> tuple[Mapping[str, Any], ...]:
    """The rows, if they are such.

    Raises:
        SynopticError: no list, a row without id, statement or verdict, or a verdict that is none.
    """
    if not isinstance(rows, Sequence) or isinstance(rows, str):
        raise SynopticError(f"{where} are not a list of claims", "give a file that `synoptic claims` wrote")
    for number, one in enumerate(rows, 1):
        missing = [key for key in NEEDED if not isinstance(one, Mapping) or key not in one]
        if missing:
            raise SynopticError(f"claim {number} of {where} lacks {', '.join(missing)}",
                                "give a file that `synoptic claims` wrote")  # fmt: skip
        if one["verdict"] not in VERDICTS:
            raise SynopticError(f"claim '{one['id']}' has the verdict '{one['verdict']}'",
                                nearest(str(one["verdict"]), VERDICTS))  # fmt: skip
    return tuple(rows)


def claims(rows: Sequence[Mapping[str, Any]]) -> Block | None:
    """A row for each claim, and how many hold."""
    if not rows:
        return None
    counts = {verdict: sum(one["verdict"] == verdict for one in rows) for verdict in VERDICTS}
    about = f"Of {len(rows)}: {counts['holds']} hold, {counts['fails']} do not, {counts['undecided']} are undecided."
    paper = any(one.get("paper") for one in rows)
    head = ("claim", "verdict", "effect", "seeds", "source", *(("paper",) if paper else ()))
    grid = Grid(head, tuple(_row(one, paper) for one in rows), words=True, linked=len(head))
    details = Grid(
        ("claim", "relation", "data", "suite hash"),
        tuple(row(str(one["id"]), *(_text(one.get(key)) for key in ("relation", "data", "suite_hash")))
              for one in rows),
        words=True, linked=4,
    )  # fmt: skip
    return Block("Claims", (about,), grids=(grid,), folds=(Fold("What decides each claim", details),))


def _row(one: Mapping[str, Any], paper: bool) -> tuple[Cell, ...]:
    return row(
        Cell(str(one["statement"]), note=str(one["id"])),
        Cell(VERDICTS[one["verdict"]], note=str(one.get("reason") or ""), strong=True),
        _effect(one),
        _text(one.get("seeds")),
        _text(one.get("source")),
        *([_paper(one.get("paper"))] if paper else []),
    )


def _effect(one: Mapping[str, Any]) -> Cell:
    effect, low, high = (_number(one.get(key), str(one.get("unit") or "")) for key in ("effect", "low", "high"))
    return Cell(effect, note=f"{low} to {high}" if DASH not in (low, high) else "")


def _number(value: Any, unit: str) -> str:
    """A raw number in its natural unit; a share, or a difference of shares, in per cent of the whole."""
    if not _is_number(value):
        return DASH
    sign = MINUS if value < 0 else ""
    if unit in TEXTS:
        return f"{sign}{TEXTS[unit](abs(value))}".replace(" ", FIXED)
    return f"{sign}{abs(value):.4g}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _paper(value: Any) -> Cell:
    if isinstance(value, Mapping):
        figure = " ".join(str(value[key]) for key in ("value", "unit") if value.get(key) is not None)
        return Cell(figure or DASH, note=str(value.get("where") or ""))
    return _text(value)


def _text(value: Any) -> Cell:
    if value is None or value == "":
        return Cell(DASH, absent=True)
    if isinstance(value, list | tuple):
        return Cell(", ".join(map(str, value)))
    return Cell(str(value))
