"""What a newcomer got, as a table that fits into sixty columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from synoptic.experiment.display.numbers import bytes_text, value_text

if TYPE_CHECKING:
    from synoptic.experiment.onboarded import Onboarded


def show_onboarded(console: Console, done: Onboarded) -> None:
    """What was trained, and every measure of the base, of what was given, and of what came of it."""
    console.print(Text(f"{done.client}: {done.examples:,} training and {done.tests:,} test examples"))
    console.print(Text(f"given {bytes_text(done.bytes_down)}, trained {done.what} in {done.steps:,} steps"))
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold", show_edge=False)
    table.add_column("on its test examples")
    for name in done.measures:
        table.add_column(name, justify="right", no_wrap=True)
    for quantity in next(iter(done.measures.values())):
        metric = f"/{quantity.rpartition(' ')[2]}/"
        table.add_row(quantity, *(value_text(metric, measured[quantity]) for measured in done.measures.values()))
    console.print(table)
