"""The results of one condition as tables: every method with its intervals, or one method before and after."""

from __future__ import annotations

import math

from synoptic.experiment.comparison.groups import Group
from synoptic.experiment.comparison.statistics import Difference, Estimate, difference, estimate
from synoptic.experiment.comparison.table import COLUMNS, MODELS, Column, Row, Table
from synoptic.experiment.comparison.text import ABSENT, cell_text, compared, difference_text, heading, is_clear
from synoptic.experiment.report.history import Curve
from synoptic.experiment.report.parts import FIXED, MINUS, Block, Cell, Grid, and_list, plural, row
from synoptic.experiment.report.scene import Scene

NOTHING = Cell(ABSENT, absent=True)


def results(scene: Scene) -> Block | None:
    """The table of a comparison or of one method; None where nothing is finished."""
    if scene.table is None:
        return None
    if len(scene.finished) == 1:
        return _one(scene.table, scene.finished[0])
    return _several(scene, scene.table)


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


def _several(scene: Scene, table: Table) -> Block:
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
    grid = Grid(head, tuple(rows), _how_to_read(table), linked=len(head))
    return Block("Results", grids=(grid,), notes=table.notes)


def _cell(column: Column, one: Row, best: float | None) -> Cell:
    value = one.cells.get(column.name)
    if value is None:
        return NOTHING
    against = one.against.get(column.name)
    note = ""
    if column in _with_difference(column) and against is not None:
        arrow = ("▲ " if (against.estimate.mean > 0) == column.higher_is_better else "▼ ") if is_clear(against) else ""
        note = arrow + _signed(column, against)
    return Cell(_text(column, value), note, strong=best is not None and value.mean == best)


def _with_difference(column: Column) -> tuple[Column, ...]:
    return (column,) if column.kind in ("share", "number") and column.of_model else ()


def _text(column: Column, value: Estimate) -> str:
    return "not a number" if math.isnan(value.mean) else cell_text(column, value)


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
    first = (f"Accuracies in per cent: mean over {seeds} ± half of a 95 % interval. " if several
             else "Accuracies in per cent, of one seed each: no interval can be given, and small differences may be "
                  "chance. ")  # fmt: skip
    second = f"Second lines: paired difference to {table.baseline}" + (
        ", ▲ better or ▼ worse where its interval leaves zero out. " if several else ". "
    )
    return f"{first}{second}Bold: best mean of the column. n/a: does not apply."


def _one(table: Table, group: Group) -> Block:
    grids = tuple(_before_after(group, one, table) for one in table.rows)
    return Block("Results", grids=grids, notes=(*_cost(table, group), *_missing(table), *_other_notes(table)))


def _before_after(group: Group, one: Row, table: Table) -> Grid:
    columns = [column for column in table.columns if column.kind == "share" and column.name in one.cells]
    caption = _one_caption(one, table)
    if not any(run.summary.get("rounds") for run in group.runs):
        rows = [row(f"{column.name} %", _text(column, one.cells[column.name])) for column in columns]
        return Grid(("measure", "before"), tuple(rows), f"{caption} Nothing was trained.", linked=2, rows_linked=True)
    rows = []
    for column in columns:
        start, change = before_and_after(group, column, one.model)
        rows.append(row(
            f"{column.name} %",
            cell_text(column, start) if start is not None else NOTHING,
            Cell(_text(column, one.cells[column.name]), strong=True),
            Cell(_signed(column, change)) if change is not None else NOTHING,
        ))  # fmt: skip
    return Grid(("measure", "before", "after", "change"), tuple(rows), caption, linked=4, rows_linked=True)


def _cost(table: Table, group: Group) -> tuple[str, ...]:
    cells = table.rows[0].cells
    words = [f"{column.name} {_text(column, cells[column.name])}" for column in table.columns
             if column.kind != "share" and column.name in cells]  # fmt: skip
    over = f", mean over {plural(len(group.runs), 'seed')}" if len(group.runs) > 1 else ""
    return (f"Cost{over}: {', '.join(words)}.",) if words else ()


def _missing(table: Table) -> tuple[str, ...]:
    missing = [column.name for column in table.columns if column.kind == "share"
               and not any(column.name in one.cells for one in table.rows)]  # fmt: skip
    return (f"n/a for this method or these data: {and_list(missing)}.",) if missing else ()


def _other_notes(table: Table) -> list[str]:
    # With one method there is no compute to compare; its own stands with the cost.
    return [note for note in table.notes if "local compute" not in note.lower()]


def _signed(column: Column, value: Difference) -> str:
    """The difference without its count of seeds, with a real minus sign."""
    return difference_text(column, value).rpartition(" (")[0].replace("-", MINUS)


def _one_caption(one: Row, table: Table) -> str:
    whose = f"The {one.model} model. " if len(table.rows) > 1 or one.model != "shared" else ""
    seeds = len(one.seeds)
    if seeds == 1:
        return f"{whose}Accuracies in per cent, of one seed: no interval can be given."
    return f"{whose}Accuracies in per cent: mean over {plural(seeds, 'seed')} ± half of a 95 % interval."


def so_far(scene: Scene) -> Block | None:
    """What was measured of runs that are not finished, where nothing is finished."""
    names = {f"{model}/{column.measure}": f"{column.name} %" for model in MODELS for column in COLUMNS
             if column.kind == "share"}  # fmt: skip
    rows = []
    for group in scene.groups:
        for run in group.runs:
            whose = "" if scene.single and len(group.runs) == 1 else f"{group.label}, seed {run.seed}: "
            for name, curve in scene.history(run).curves.items():
                if name in names:
                    rows.append(_moment(f"{whose}{names[name]}", curve))
    grid = Grid(("measure", "before", "so far", "after round"), tuple(rows), "Accuracies in per cent.", linked=2)
    return Block("So far", grids=(grid,)) if rows else None


def _moment(title: str, curve: Curve) -> tuple[Cell, ...]:
    last = max(curve)
    start = Cell(f"{100 * curve[0]:.1f}") if 0 in curve else NOTHING
    return row(title, start, Cell(f"{100 * curve[last]:.1f}", strong=True), f"{last}")
