"""A comparison's table as text: Markdown, CSV, JSON, and the cells that the terminal and the report share."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from typing import Any

from synoptic.experiment.comparison.columns import MODELS, Column
from synoptic.experiment.comparison.statistics import Difference, Estimate
from synoptic.experiment.comparison.table import Row, Table
from synoptic.experiment.display.numbers import bytes_text, seconds_text

ABSENT = "n/a"
"""Stands where a measure does not apply: a shared-only method has no personal model, whatever its accuracy would be."""

SHOWN = ("seconds/", "bytes/", "work/", "log/", "rounds")
"""Measures that have no difference column: nobody can say that more of them, or less, is better."""

CSV_FIELDS = ("condition", "method", "model", "measure", "mean", "low", "high", "seeds", "difference", "difference_low",
              "difference_high", "wins", "ties", "losses")  # fmt: skip


def heading(column: Column) -> str:
    """A column's name with its unit."""
    return f"{column.name} %" if column.kind == "share" else column.name


def row_name(row: Row, table: Table) -> str:
    """The method, and which of its models where the table has both kinds of one method."""
    both = sum(other.label == row.label for other in table.rows) > 1
    return f"{row.label} ({row.model})" if both or row.model == MODELS[1] else row.label


def cell_text(column: Column, value: Estimate | None) -> str:
    """``97.1 ± 0.8``; the mean alone when there is one seed; `ABSENT` where nothing was measured."""
    if value is None:
        return ABSENT
    if column.kind == "bytes":
        return bytes_text(value.mean)
    if column.kind == "seconds":
        return seconds_text(value.mean)
    if column.kind == "share":
        return plain_text(column, value.mean) + ("" if math.isnan(value.low) else f" ± {100 * value.half:.1f}")
    if column.measure.startswith("work/") or not value.half > 0:
        return plain_text(column, value.mean)
    digits = _digits(value.half)
    return f"{value.mean:,.{digits}f} ± {value.half:,.{digits}f}"


def plain_text(column: Column, value: float) -> str:
    """A share in per cent, or a number with four digits, without unit."""
    if column.kind == "share":
        return f"{100 * value:.1f}"
    return f"{value:,.0f}" if abs(value) >= 100 or value == 0 else f"{value:.4g}"


def _digits(half: float) -> int:
    """Decimals that show two digits of an interval's half; of the mean no more can be known."""
    return min(max(1 - math.floor(math.log10(half)), 0), 9) if 0 < half < math.inf else 4


def difference_text(column: Column, value: Difference | None) -> str:
    """``+3.2 ± 1.1 (5-0)``: paired mean and interval, and on how many seeds better and worse."""
    if value is None:
        return ABSENT
    one = value.estimate
    scale, digits = (100, 1) if column.kind == "share" else (1, _digits(one.half))
    half = "" if math.isnan(one.low) else f" ± {scale * one.half:.{digits}f}"
    return f"{scale * one.mean:+.{digits}f}{half} ({value.wins}-{value.losses})"


def is_clear(value: Difference | None) -> bool:
    """Whether the interval of a difference leaves zero out."""
    return value is not None and (value.estimate.low > 0 or value.estimate.high < 0)


def compared(table: Table) -> tuple[Column, ...]:
    """Columns whose differences are worth a look."""
    return tuple(column for column in table.columns if not column.measure.startswith(SHOWN))


def difference_rows(table: Table) -> tuple[Row, ...]:
    """Rows that are compared with the baseline."""
    return tuple(row for row in table.rows if row.against)


def markdown(table: Table) -> str:
    """The table and the paired differences as Markdown; below what is not part of another, seeds and notes too."""
    lines = [*_grid(["method", *map(heading, table.columns)],
                    [[row_name(row, table), *(cell_text(column, row.cells.get(column.name))
                                              for column in table.columns)] for row in table.rows])]  # fmt: skip
    against = difference_rows(table)
    columns = compared(table)
    if against and columns:
        lines += ["", f"Paired differences to {table.baseline}: mean ± half of a 95 % interval (seeds better-worse); "
                  "bold where the interval leaves zero out.", ""]  # fmt: skip
        lines += _grid(["method", *map(heading, columns)],
                       [[row_name(row, table), *(_bold(column, row.against.get(column.name)) for column in columns)]
                        for row in against])  # fmt: skip
    seeds = sorted({seed for row in table.rows for seed in row.seeds})
    if not table.title:
        lines += ["", f"* Seeds {', '.join(map(str, seeds))}.", *(f"* {note}" for note in table.notes)]
    return "\n".join(lines)


def as_csv(tables: Sequence[Table]) -> str:
    """One line for each measure of each model; shares as fractions, bytes and seconds as numbers."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_FIELDS, lineterminator="\n")
    writer.writeheader()
    for table in tables:
        writer.writerows(_csv_rows(table))
    return out.getvalue()


def as_json(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Everything, values of single seeds included."""
    return [
        {
            "condition": table.condition,
            "title": table.title,
            "baseline": table.baseline,
            "notes": list(table.notes),
            "columns": [{"name": column.name, "measure": column.measure, "about": column.about} for column in
                        table.columns],
            "rows": [_json_row(row, table) for row in table.rows],
        }
        for table in tables
    ]  # fmt: skip


def _json_row(row: Row, table: Table) -> dict[str, Any]:
    cells = {name: {"mean": one.mean, "low": _finite(one.low), "high": _finite(one.high), "values": list(one.values)}
             for name, one in row.cells.items()}  # fmt: skip
    against = {name: {"mean": one.estimate.mean, "low": _finite(one.estimate.low), "high": _finite(one.estimate.high),
                      "wins": one.wins, "ties": one.ties, "losses": one.losses}
               for name, one in row.against.items()}  # fmt: skip
    return {"method": row.label, "model": row.model, "seeds": list(row.seeds), "cells": cells, "difference": against}


def _csv_rows(table: Table) -> Iterator[dict[str, Any]]:
    for row in table.rows:
        for column in table.columns:
            one, apart = row.cells.get(column.name), row.against.get(column.name)
            if one is None:
                continue
            line = {"condition": table.condition, "method": row.label, "model": row.model, "measure": column.measure,
                    "mean": one.mean, "low": _finite(one.low), "high": _finite(one.high),
                    "seeds": len(row.seeds)}  # fmt: skip
            if apart is not None:
                line |= {"difference": apart.estimate.mean, "difference_low": _finite(apart.estimate.low),
                         "difference_high": _finite(apart.estimate.high), "wins": apart.wins, "ties": apart.ties,
                         "losses": apart.losses}  # fmt: skip
            yield line


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value


def _bold(column: Column, value: Difference | None) -> str:
    text = difference_text(column, value)
    return f"**{text}**" if is_clear(value) else text


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]
