"""Findings of the doctor: a mark, a name, what was found, and below it what to do. Fits into sixty columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from synoptic.experiment.doctor.check import Check

MARKS = {"fine": ("✓", "green"), "note": ("!", "yellow"), "broken": ("✗", "bold red"), "absent": ("-", "dim")}
PLAIN = {"✓": "+", "✗": "x"}


def show_checks(console: Console, checks: Sequence[Check]) -> None:
    """All findings, and how many want attention."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", max_width=18)
    table.add_column(overflow="fold")
    for check in checks:
        mark, style = MARKS[check.status]
        found = Text(check.found)
        if check.fix:
            found.append(f"\n→ {check.fix}" if not console.options.ascii_only else f"\n> {check.fix}", "italic")
        table.add_row(Text(PLAIN.get(mark, mark) if console.options.ascii_only else mark, style), check.name, found)
    console.print(table)
    console.print(Text(f"\n{_verdict(checks)}"))


def _verdict(checks: Sequence[Check]) -> str:
    broken, notes = (sum(check.status == status for check in checks) for status in ("broken", "note"))
    parts = [f"{broken} broken" if broken else "", f"{notes} to look at" if notes else ""]
    return ", ".join(part for part in parts if part) or "all is well"
