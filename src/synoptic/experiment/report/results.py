"""The results of one condition as tables: every method with its intervals, or one method before and after."""

from __future__ import annotations

import math
from collections.abc import Sequence

from synoptic.experiment.comparison.columns import MODELS, Column
from synoptic.experiment.comparison.groups import Group
from synoptic.experiment.comparison.statistics import Difference, Estimate, difference, estimate
from synoptic.experiment.comparison.table import Row, Table
from synoptic.experiment.comparison.text import (
    ABSENT,
    cell_text,
    compared,
    difference_text,
    heading,
    is_clear,
    plain_text,
)
from synoptic.experiment.report.history import Curve
from synoptic.experiment.report.parts import FIXED, MINUS, Block, Cell, Grid, and_list, plural, row, sentence, signed
from synoptic.experiment.report.scene import Scene

NOTHING = Cell(ABSENT, absent=True)

QUANTITIES = {"accuracy": "accuracies in per cent", "preference": "pairs in the right order in per cent",
              "utility": "true utilities", "skill": "skills (0 without looking at the input, 1 if perfect)",
              "error": "mean squared errors (lower is better)"}  # fmt: skip
"""What captions call the numbers of a table."""


def results(scene: Scene) -> Block | None:
    """The table of a comparison or of one method; None where nothing is finished."""
    if scene.table is None:
        return None
    if len(scene.finished) == 1:
        return _one(scene, scene.table, scene.finished[0])
    grids = [_several(scene, table) for table in (scene.table, scene.tasks) if table is not None]
    return Block("Results", grids=tuple(grids), notes=scene.table.notes)


def units(columns: Sequence[Column]) -> str:
    """What the numbers are: ``Accuracies in per cent``; of several quantities a list."""
    known = dict.fromkeys(QUANTITIES[column.quantity] for column in columns if column.quantity in QUANTITIES)
    return sentence(and_list(list(known)) or "results")[:-1]


def row_title(scene: Scene, one: Row) -> str:
    """What a row is called, here as in legends."""
    return next((s.name for s in scene.series if (s.label, s.model) == (one.label, one.model)), one.label)


def before_and_after(group: Group, column: Column, model: str) -> tuple[Estimate | None, Difference | None]:
    """A measure before training, and its change seed by seed; None where it was not measured before."""
    name = column.full(model)
    runs = [run.measures() for run in group.runs]
    pairs = [(run[name], run[f"before/{name}"]) for run in runs if name in run and f"before/{name}" in run]
    if len(pairs) < len(runs):
        return None, None
    after, before = [list(values) for values in zip(*pairs, strict=True)]
    return estimate(before), difference(after, before, column.higher_is_better)


def _several(scene: Scene, table: Table) -> Grid:
    columns = compared(table)
    best = {column.name: _best(table, column) for column in columns}
    rows = [
        row(
            row_title(scene, one) + (" (baseline)" if one.is_baseline else ""),
            *(_cell(column, one, best.get(column.name)) for column in table.columns),
        )
        for one in table.rows
    ]
    head = ("method", *(heading(column).replace(" %", f"{FIXED}%") for column in table.columns))
    if table is scene.tasks:
        about = "By task, on own test data, a mean over the clients who have it. "
        return Grid(head, tuple(rows), about + _how_to_read(table))
    return Grid(head, tuple(rows), _how_to_read(table), linked=len(head))


def _cell(column: Column, one: Row, best: float | None) -> Cell:
    value = one.cells.get(column.name)
    if value is None:
        return NOTHING
    against = one.against.get(column.name)
    note = ""
    if column.kind in ("share", "number") and column.of_model and against is not None:
        arrow = ("▲ " if (against.estimate.mean > 0) == column.higher_is_better else "▼ ") if is_clear(against) else ""
        note = arrow + _signed(column, against)
    return Cell(_text(column, value), note, strong=best is not None and value.mean == best)


def _text(column: Column, value: Estimate) -> str:
    return "not a number" if math.isnan(value.mean) else signed(cell_text(column, value))


def _best(table: Table, column: Column) -> float | None:
    """The best mean, where several differ."""
    means = {one.cells[column.name].mean for one in table.rows if column.name in one.cells}
    if len(means) < 2 or any(math.isnan(mean) for mean in means):
        return None
    return max(means) if column.higher_is_better else min(means)


def _how_to_read(table: Table) -> str:
    several = any(len(one.seeds) > 1 for one in table.rows)
    counts = {len(one.seeds) for one in table.rows}
    seeds = plural(counts.pop(), "seed") if len(counts) == 1 else "the seeds of each method"
    what = units([column for column in table.columns if column.is_result])
    first = (
        f"{what}: mean over {seeds} ± half of a 95 % interval. "
        if several
        else f"{what}, of one seed each: no interval can be given, and small differences may be chance. "
    )
    second = f"Second lines: paired difference to {table.baseline}" + (
        ", ▲ better or ▼ worse where its interval leaves zero out. " if several else ". "
    )
    return f"{first}{second}Bold: best mean of the column. n/a: does not apply."


def _one(scene: Scene, table: Table, group: Group) -> Block:
    tables = [table] if scene.tasks is None else [table, scene.tasks]
    grids = tuple(_before_after(group, one.model, tables) for one in table.rows)
    return Block("Results", grids=grids, notes=(*_cost(table, group), *_missing(table), *_other_notes(table)))


def ends(tables: Sequence[Table], model: str) -> list[tuple[Column, Estimate]]:
    """How well one model did at the end, by all that was measured of it."""
    return [(column, one.cells[column.name]) for table in tables for one in table.rows if one.model == model
            for column in table.columns if column.is_result and column.name in one.cells]  # fmt: skip


def _before_after(group: Group, model: str, tables: Sequence[Table]) -> Grid:
    found = ends(tables, model)
    caption = _one_caption(model, group, tables[0], [column for column, _ in found])
    if not any(run.summary.get("rounds") for run in group.runs):
        rows = [row(heading(column), _text(column, end)) for column, end in found]
        return Grid(("measure", "before"), tuple(rows), f"{caption} Nothing was trained.", linked=2, rows_linked=True)
    rows = []
    for column, end in found:
        start, change = before_and_after(group, column, model)
        rows.append(row(
            heading(column),
            _text(column, start) if start is not None else NOTHING,
            Cell(_text(column, end), strong=True),
            Cell(_signed(column, change)) if change is not None else NOTHING,
        ))  # fmt: skip
    return Grid(("measure", "before", "after", "change"), tuple(rows), caption, linked=4, rows_linked=True)


def _cost(table: Table, group: Group) -> tuple[str, ...]:
    cells = table.rows[0].cells
    words = [f"{column.name} {_text(column, cells[column.name])}" for column in table.columns
             if not column.is_result and column.name in cells]  # fmt: skip
    over = f", mean over {plural(len(group.runs), 'seed')}" if len(group.runs) > 1 else ""
    return (f"Cost{over}: {', '.join(words)}.",) if words else ()


def _missing(table: Table) -> tuple[str, ...]:
    missing = [column.name for column in table.columns if column.is_result
               and not any(column.name in one.cells for one in table.rows)]  # fmt: skip
    return (f"n/a for this method or these data: {and_list(missing)}.",) if missing else ()


def _other_notes(table: Table) -> list[str]:
    # With one method there is no compute to compare; its own stands with the cost.
    return [note for note in table.notes if "local compute" not in note.lower()]


def _signed(column: Column, value: Difference) -> str:
    """The difference without its count of seeds, with a real minus sign."""
    return difference_text(column, value).rpartition(" (")[0].replace("-", MINUS)


def _one_caption(model: str, group: Group, table: Table, columns: Sequence[Column]) -> str:
    whose = f"The {model} model. " if len(table.rows) > 1 or model != "shared" else ""
    seeds, what = len(group.runs), units(columns)
    if seeds == 1:
        return f"{whose}{what}, of one seed: no interval can be given."
    return f"{whose}{what}: mean over {plural(seeds, 'seed')} ± half of a 95 % interval."


def so_far(scene: Scene) -> Block | None:
    """What was measured of runs that are not finished, where nothing is finished."""
    columns = (*scene.columns, *scene.task_columns)
    names = {f"{model}/{column.measure}": column for model in MODELS for column in columns}
    rows = []
    for group in scene.groups:
        for run in group.runs:
            whose = "" if scene.single and len(group.runs) == 1 else f"{group.label}, seed {run.seed}: "
            for name, curve in scene.history(run).curves.items():
                if name in names:
                    rows.append(_moment(whose, names[name], curve))
    grid = Grid(("measure", "before", "so far", "after round"), tuple(rows), f"{units(columns)}.", linked=2)
    return Block("So far", grids=(grid,)) if rows else None


def _moment(whose: str, column: Column, curve: Curve) -> tuple[Cell, ...]:
    first, last = (signed(plain_text(column, curve[round_])) for round_ in (min(curve), max(curve)))
    start = Cell(first) if 0 in curve else NOTHING
    return row(f"{whose}{heading(column)}", start, Cell(last, strong=True), f"{max(curve)}")
