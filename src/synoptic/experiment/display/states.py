"""How far runs are: one in a few lines, many in a table. Fits into sixty columns."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from synoptic.core.errors import SynopticError
from synoptic.experiment.display.numbers import headlines, seconds_text
from synoptic.experiment.display.watcher import describe_run
from synoptic.experiment.run_state import RunState

STYLES = {"finished": "green", "running": "bold", "stopped": "yellow", "unknown": "dim"}
WIDE = 110
"""Columns from which on a run is a line of a table."""


def show_state(console: Console, state: RunState) -> None:
    """What runs, how far it is, how long it may take; how to go on where it stopped."""
    if state.started:
        for line in describe_run(state.started):
            console.print(Text(line), soft_wrap=True)
    if state.failures:
        console.print(Text(f"{state.failures} times a client failed", "yellow"))
    show_progress(console, state)


def show_progress(console: Console, state: RunState) -> None:
    """The last of those lines, and how to go on."""
    parts = [
        f"{state.status} with {state.done} of {state.rounds} rounds done",
        headlines(state.metrics),
        f"{seconds_text(state.left)} left" if state.left is not None else "",
        f"last event {seconds_text(max(time.time() - state.last, 0))} ago" if state.last is not None else "",
    ]
    console.print(Text("  ".join(part for part in parts if part)), soft_wrap=True)
    if state.status == "stopped":
        console.print(Text(f"go on: synoptic run --resume {shlex.quote(str(state.path))}"), soft_wrap=True)


def show_states(console: Console, states: Sequence[RunState | SynopticError]) -> None:
    """A table of runs, or where there is little room two lines for each; then a sentence for each unreadable one."""
    known = [state for state in states if isinstance(state, RunState)]
    if console.width < WIDE:
        for state in known:
            console.print(Text(state.path.name, "bold"), soft_wrap=True)
            cells = [cell for cell in _cells(state) if cell.plain]
            console.print(Padding(Text("  ").join(cells), (0, 0, 0, 2), expand=False))
    elif known:
        table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold", show_edge=False)
        table.add_column("run", overflow="fold")
        for name in ("status", "round", "accuracy", ""):
            table.add_column(name, no_wrap=True)
        for state in known:
            table.add_row(state.path.name, *_cells(state))
        console.print(table)
    for error in states:
        if isinstance(error, SynopticError):
            console.print(Text(f"left out: {error}", "yellow"), soft_wrap=True)


def _cells(state: RunState) -> list[Text]:
    left = f"{seconds_text(state.left)} left" if state.left is not None else ""
    status = Text(state.status, STYLES[state.status])
    return [status, *(Text(cell) for cell in (f"{state.done}/{state.rounds}", headlines(state.metrics), left))]
