"""A comparison's tables on a terminal, broken into parts that fit its width."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from synoptic.experiment.comparison.table import Table
from synoptic.experiment.comparison.text import (
    cell_text,
    compared,
    difference_rows,
    difference_text,
    heading,
    is_clear,
    row_name,
)

GAP = 2


def show_comparison(console: Console, tables: Sequence[Table]) -> None:
    """For each condition: what every method reached, the paired differences, and what one must know to compare."""
    for table in tables:
        console.print()
        if headline := table.title or table.condition:
            console.print(Text(headline, "bold"))
        seeds = sorted({seed for row in table.rows for seed in row.seeds})
        interval = "mean ± half of a 95 % interval over" if len(seeds) > 1 else "one value for"
        say(console, f"{interval} seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}")
        _parts(console, [heading(column) for column in table.columns],
               [(row_name(row, table),
                 [Text(cell_text(column, row.cells.get(column.name))) for column in table.columns])
                for row in table.rows])  # fmt: skip
        rows, columns = difference_rows(table), compared(table)
        if rows and columns:
            console.print()
            say(console, f"paired difference to {table.baseline} (seeds better-worse)")
            _parts(console, [heading(column) for column in columns],
                   [(row_name(row, table),
                     [Text(difference_text(column, row.against.get(column.name)),
                           "bold" if is_clear(row.against.get(column.name)) else "") for column in columns])
                    for row in rows])  # fmt: skip
        console.print()
        for note in table.notes:
            say(console, note)


def say(console: Console, text: str) -> None:
    """A sentence, wrapped."""
    console.print(Text(text, "dim"))


def _parts(console: Console, head: Sequence[str], rows: Sequence[tuple[str, Sequence[Text]]]) -> None:
    """The same rows again and again with as many columns as fit."""
    name = max(len("method"), *(len(label) for label, _ in rows))
    name = min(name, max(12, console.width // 3))
    widths = [max(len(title), *(len(cells[place]) for _, cells in rows)) for place, title in enumerate(head)]
    first = 0
    while first < len(head):
        last, used = first + 1, name + GAP + widths[first]
        while last < len(head) and used + GAP + widths[last] <= console.width:
            used += GAP + widths[last]
            last += 1
        grid = Grid(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold", show_edge=False)
        grid.add_column("method", overflow="fold", max_width=name)
        for place in range(first, last):
            grid.add_column(head[place], justify="right", no_wrap=True)
        for label, cells in rows:
            grid.add_row(label, *cells[first:last])
        if first:
            console.print()
        console.print(grid)
        first = last
