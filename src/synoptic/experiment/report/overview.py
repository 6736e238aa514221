"""Several conditions at a glance: one measure, a row for each model, a column for each condition."""

from __future__ import annotations

from collections.abc import Sequence

from synoptic.experiment.comparison.columns import Column
from synoptic.experiment.comparison.groups import PROBLEM
from synoptic.experiment.comparison.text import cell_text
from synoptic.experiment.records import flat
from synoptic.experiment.report.facts import setting, settings_apart
from synoptic.experiment.report.headline import main_column, measure_name
from synoptic.experiment.report.parts import Block, Cell, Grid, row, sentence, signed
from synoptic.experiment.report.results import NOTHING, row_title, units
from synoptic.experiment.report.scene import Scene


def overview(scenes: Sequence[Scene]) -> Block | None:
    """The main measure of every model under every condition, and what makes these differ; None for a single one."""
    if len(scenes) < 2:
        return None
    column = _common(scenes)
    shown = [scene for scene in scenes if scene.table is not None]
    grids = [_table(shown, column)] if column is not None else []
    asks = all(scene.asks for scene in scenes)
    what = f"{sentence(measure_name(column, asks))} " if column is not None else ""
    about = (
        f"{what}Every condition is a problem of its own and has its own part below: compare down a column, not along a "
        "row."
    )
    return Block("Conditions at a glance", (about,), grids=(*grids, *_apart(scenes)))


def _table(scenes: Sequence[Scene], column: Column) -> Grid:
    names = list(dict.fromkeys(row_title(scene, one) for scene in scenes if scene.table for one in scene.table.rows))
    rows = [row(name, *(_cell(scene, name, column) for scene in scenes)) for name in names]
    caption = f"{units([column])}, mean and half of a 95 % interval over seeds."
    return Grid(("method", *_names(scenes)), tuple(rows), caption)


def _apart(scenes: Sequence[Scene]) -> tuple[Grid, ...]:
    """Settings of data, base and evaluation in which the conditions differ."""
    recipes = [dict(flat(scene.groups[0].recipe)) for scene in scenes]
    table = [{name: value for name, value in one.items() if name.startswith(PROBLEM)} for one in recipes]
    rows = [row(name, *(setting(one, name) for one in table)) for name in settings_apart(table)]
    if not rows:
        return ()
    return (Grid(("setting", *_names(scenes)), tuple(rows), "What makes them different problems.", words=True),)


def _names(scenes: Sequence[Scene]) -> tuple[str, ...]:
    return tuple(scene.condition or "no name" for scene in scenes)


def _common(scenes: Sequence[Scene]) -> Column | None:
    """The main measure of most conditions."""
    found = [column for scene in scenes if scene.table is not None and (column := main_column(scene.table)) is not None]
    return max(found, key=found.count, default=None)


def _cell(scene: Scene, name: str, column: Column) -> Cell:
    assert scene.table is not None, "only scenes with a table are shown"
    for one in scene.table.rows:
        if row_title(scene, one) == name and column in scene.table.columns and column.name in one.cells:
            return Cell(signed(cell_text(column, one.cells[column.name])))
    return NOTHING
