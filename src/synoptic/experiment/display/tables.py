"""Tables at the end: results of a run, clients of a split, methods. Names and numbers fit into sixty columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from synoptic.experiment.comparison.columns import SKILLS, task_columns
from synoptic.experiment.display.numbers import bytes_text, seconds_text, value_text

if TYPE_CHECKING:
    from synoptic.data.inspect import ClientRow
    from synoptic.experiment.catalogue import MethodRow

WIDE = 72
"""Columns from which on the values before training stand beside those after it."""

TALKING = 8
"""Clients of whom questions are shown below the table."""

SHOWN = 20
"""Clients in a table; of more, the middle is left out."""


def show_result(console: Console, folder: Path, summary: Mapping[str, Any]) -> None:
    """Accuracies, of several tasks what each is measured by; bytes, seconds, and where the rest lies."""
    metrics: Mapping[str, float] = summary["metrics"]
    before: Mapping[str, float] = summary.get("before", {}) if console.width >= WIDE else {}
    title, table = f"after round {summary['rounds']}", _table()
    console.print()
    if any("/local/skill/" in name for name in metrics):
        console.print(_by_task(title, metrics, before))
        table.add_column("")
        table.add_column("", justify="right", no_wrap=True)
    else:
        table.add_column(title)
        table.add_column("", justify="right", no_wrap=True)
        if before:
            table.add_column("before", justify="right", no_wrap=True)
        for name, value in metrics.items():
            if any(f"/{quantity}/" in name for quantity in ("accuracy", "preference", "utility")):
                start = [value_text(name, before[name])] if name in before else []
                table.add_row(name, value_text(name, value), *start)
    table.add_row("bytes up", bytes_text(summary["bytes"]["up"]))
    table.add_row("bytes down", bytes_text(summary["bytes"]["down"]))
    for name, seconds in summary["seconds"].items():
        table.add_row(f"time, {name}", seconds_text(seconds))
    console.print(table)
    console.print(Text(f"run folder: {folder}"), soft_wrap=True)


def _by_task(title: str, metrics: Mapping[str, float], before: Mapping[str, float]) -> Table:
    """Means over the clients who have a task, on their own test examples, a row for each task."""
    models = [model for model in ("shared", "personal") if f"{model}/local/skill/mean" in metrics]
    table = _table()
    table.add_column(title, overflow="fold")
    for model in models:
        table.add_column(model, justify="right", no_wrap=True)
        if before:
            table.add_column("before", justify="right", no_wrap=True)
    sides = (metrics, before) if before else (metrics,)
    for column in (*task_columns(metrics), *SKILLS):
        names = [column.full(model) for model in models]
        cells = [value_text(name, side[name]) if name in side else "" for name in names for side in sides]
        table.add_row(column.name, *cells)
    return table


def show_clients(console: Console, rows: Sequence[ClientRow], summary: Mapping[str, Any]) -> None:
    """Who holds what."""
    classes = f"{summary['base_classes']} classes"
    novel = f" and {summary['novel_classes']} never trained" if summary["novel_classes"] else ""
    questions = f" (questions about {summary['pictures']:,} training pictures)" if "pictures" in summary else ""
    examples = f"{summary['train']:,} training and {summary['test']:,} test examples{questions}"
    console.print(Text(f"{examples}, {classes}{novel}"))
    if summary["domains"]:
        console.print(Text(f"domains: {', '.join(summary['domains'])}"))
    if "pool" in summary or "pool_test" in summary:
        judged = f" and {summary['pool_test']:,} to be judged on" if "pool_test" in summary else ""
        console.print(Text(f"the server has {summary.get('pool', 0):,} rows of nobody to train on{judged}"))
    if summary["duplicates_dropped"]:
        console.print(Text(f"{summary['duplicates_dropped']:,} training examples left out: also in the test part"))
    held = [row.train for row in rows]
    console.print(Text(f"{len(rows):,} clients hold {min(held):,} to {max(held):,} training examples each "
                       f"(median {median(held):,.0f})"))  # fmt: skip
    console.print(_client_table(rows, any(row.val for row in rows), any(len(row.domains) for row in rows)))
    for row in rows[:TALKING]:
        _show_said(console, row)


def _show_said(console: Console, row: ClientRow) -> None:
    """A few questions of a client with their answers, a line each."""
    if row.said:
        console.print(Text(f"\n{row.client}", "bold"))
    for said in row.said:
        _one_line(console, f"  {said.question} -> {said.answer}")
        if said.rejected is not None:
            _one_line(console, f"    rejected: {said.rejected}")


def _one_line(console: Console, text: str) -> None:
    plain = text.replace("\n", " ")
    console.print(Text(plain), no_wrap=True, overflow="ellipsis")


def _client_table(rows: Sequence[ClientRow], val: bool, domains: bool) -> Table:
    table = _table()
    table.add_column("client", overflow="fold")
    for name in ("train", *(("val",) if val else ()), "test", "classes"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("most frequent", overflow="fold")
    if domains:
        table.add_column("domains", overflow="fold")
    hidden = len(rows) - SHOWN
    shown = rows if hidden <= 0 else [*rows[: SHOWN // 2], *rows[-SHOWN // 2 :]]
    for place, row in enumerate(shown):
        if hidden > 0 and place == SHOWN // 2:
            table.add_row(f"({hidden:,} more)")
        numbers = [row.train, *((row.val,) if val else ()), row.test, row.classes]
        most = f"{100 * row.largest_share:.0f} % {row.largest_class}"
        table.add_row(row.client, *(f"{number:,}" for number in numbers), most,
                      *((_some(row.domains),) if domains else ()))  # fmt: skip
    return table


def _some(words: Sequence[str], most: int = 3) -> str:
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


def show_methods(console: Console, rows: Sequence[MethodRow]) -> None:
    """Each method with a line about it and its own settings."""
    for row in rows:
        console.print(Text(row.name, "bold"))
        _indented(console, row.summary, 2)
        for key in row.settings:
            _indented(console, f"{key.name}={key.default}  {key.description}", 4)


def _indented(console: Console, text: str, by: int) -> None:
    console.print(Padding(Text(text), (0, 0, 0, by), expand=False))


def _table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold", show_edge=False)
