"""Accuracies at the end as bars: one panel for each split, one bar for each model, every seed a dot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING

from synoptic.experiment.comparison.groups import Group
from synoptic.experiment.comparison.statistics import Estimate, estimate
from synoptic.experiment.comparison.table import MODELS, Column, Row, Table
from synoptic.experiment.comparison.text import cell_text
from synoptic.experiment.report.draw import TEXT, drawing, identifier, plain, svg
from synoptic.experiment.report.palette import sentinel, series_colour
from synoptic.experiment.report.parts import DASH, Block, Cell, Figure, Grid, row, sentence, shortened
from synoptic.experiment.report.results import NOTHING, before_and_after, row_title
from synoptic.experiment.report.scene import Scene
from synoptic.experiment.report.terms import about_column

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEP = 39
"""Points for one bar and the name above it."""

LONGEST = 30
DOMAIN, MEAN = "domain/", "/accuracy/mean"


@dataclass(frozen=True)
class Bar:
    """One bar; without a value its place says that the measure does not apply."""

    name: str
    colour: str
    value: Estimate | None


def bars(scene: Scene) -> Block | None:
    """Bars of every accuracy in the table, and of domains where the data have some."""
    table = scene.table
    if table is None:
        return None
    columns = [column for column in table.columns if column.kind == "share"]
    if len(scene.finished) == 1:
        figures = _single(scene, table, columns)
    else:
        figures = [_column(scene, table, column) for column in columns]
    figures += _domains(scene)
    seeds = max(len(one.seeds) for one in table.rows)
    about = ("The end of a bar is the mean over seeds, the line across it the 95 % interval, and every dot a seed."
             if seeds > 1 else "One seed: no interval can be given.")  # fmt: skip
    return Block("Accuracies", (f"At the end. {about}",), figures=tuple(figures)) if figures else None


def figure(scene: Scene, title: str, about: str, entries: Sequence[Bar], column: Column) -> Figure:
    """A panel of bars from 0 to 100 per cent."""
    height = STEP * len(entries) + 30
    with drawing(height, (4, 8, 4, 24)) as (drawn, axes):
        for place, entry in enumerate(entries):
            _draw(axes, place, entry)
        _frame(axes, len(entries))
        texts = [f"{entry.name} {cell_text(column, entry.value)}" for entry in entries]
        picture = svg(
            drawn, identifier(scene.condition, "bar", title), f"Bar chart of {title}, per cent: {'; '.join(texts)}."
        )
    rows = [row(entry.name, *_numbers(column, entry.value)) for entry in entries]
    grid = Grid(("method", "mean %", "± (95 %)", "each seed"), tuple(rows), linked=3)
    return Figure(f"{title}, %", about, picture, grid)


def _column(scene: Scene, table: Table, column: Column) -> Figure:
    entries = [Bar(row_title(scene, one), _colour(scene, one.label, one.model), one.cells.get(column.name))
               for one in table.rows]  # fmt: skip
    return figure(scene, column.name, about_column(column, scene.asks), entries, column)


def _single(scene: Scene, table: Table, columns: Sequence[Column]) -> list[Figure]:
    """One method: before and after, for every split."""
    group = scene.finished[0]
    trained = any(run.summary.get("rounds") for run in group.runs)
    about = "Each split before training (grey) and after the last round." if trained else "Nothing was trained."
    figures = []
    for one in table.rows:
        entries = [bar for column in columns if column.name in one.cells
                   for bar in _pair(scene, group, one, column, trained)]  # fmt: skip
        title = "before and after" if trained else "before"
        title = title if len(table.rows) == 1 else f"{title} ({one.model})"
        if entries:
            figures.append(figure(scene, title, about, entries, columns[0]))
    return figures


def _pair(scene: Scene, group: Group, one: Row, column: Column, trained: bool) -> Iterator[Bar]:
    colour = _colour(scene, one.label, one.model)
    if not trained:
        yield Bar(column.name, colour, one.cells[column.name])
        return
    start, _ = before_and_after(group, column, one.model)
    if start is not None:
        yield Bar(f"{column.name}, before", "axis", start)
    yield Bar(f"{column.name}, after", colour, one.cells[column.name])


def _domains(scene: Scene) -> list[Figure]:
    """One panel for each domain that any finished run was measured on."""
    starts = tuple(f"{model}/{DOMAIN}" for model in MODELS)
    measures = {name.split("/", 1)[1] for group in scene.finished for run in group.runs for name in run.measures()
                if name.startswith(starts) and name.endswith(MEAN)}  # fmt: skip
    return [_domain(scene, measure) for measure in sorted(measures)]


def _domain(scene: Scene, measure: str) -> Figure:
    name = measure.removeprefix(DOMAIN).removesuffix(MEAN)
    of = "test questions" if scene.asks else "test examples of trained classes"
    column = Column(f"domain {name}", measure, "share", f"accuracy on {of} in {name}")
    entries = [Bar(one.name, series_colour(one.number), _over_seeds(scene, one.label, column.full(one.model)))
               for group in scene.finished for one in scene.of(group)]  # fmt: skip
    return figure(scene, column.name, sentence(column.about), entries, column)


def _over_seeds(scene: Scene, label: str, name: str) -> Estimate | None:
    group = scene.done(label)
    values = [run.measures().get(name) for run in group.runs] if group is not None else []
    known = [value for value in values if value is not None]
    return estimate(known) if known and len(known) == len(values) else None


def _draw(axes: Axes, place: int, entry: Bar) -> None:
    top = place * STEP
    ink = sentinel("ink")
    axes.text(0, top + TEXT, shortened(entry.name, LONGEST), va="baseline", color=sentinel("muted"))
    if entry.value is None or isnan(entry.value.mean):
        axes.text(0, top + 29, "n/a: does not apply" if entry.value is None else "not a number", va="baseline",
                  color=ink, style="italic")  # fmt: skip
        return
    value, middle = entry.value, top + 25
    mean = 100 * value.mean
    axes.barh(middle, mean, height=13, color=sentinel(entry.colour), linewidth=0, clip_on=False)
    low, high = 100 * max(value.low, 0), 100 * min(value.high, 1)
    if len(value.values) > 1:
        axes.plot([low, high], [middle, middle], color=ink, linewidth=1.4, solid_capstyle="butt", clip_on=False)
        axes.plot([100 * one for one in value.values], [middle] * len(value.values), "o", color=sentinel("card"),
                  markeredgecolor=ink, markersize=4.2, markeredgewidth=0.9, clip_on=False)  # fmt: skip
    half = "" if isnan(value.low) else f" ± {100 * value.half:.1f}"
    axes.text(100, top + TEXT, f"{mean:.1f}{half}", va="baseline", ha="right", color=ink)


def _frame(axes: Axes, count: int) -> None:
    plain(axes, "x")
    axes.set_xlim(0, 100)
    axes.set_ylim(STEP * count - 2, 0)
    axes.set_yticks([])
    axes.set_xticks([0, 25, 50, 75, 100])
    # The outermost numbers stay inside the drawing.
    axes.get_xticklabels()[0].set_horizontalalignment("left")
    axes.get_xticklabels()[-1].set_horizontalalignment("right")


def _numbers(column: Column, value: Estimate | None) -> list[Cell]:
    if value is None:
        return [NOTHING, NOTHING, NOTHING]
    half = Cell(DASH, absent=True) if isnan(value.low) else Cell(f"{100 * value.half:.1f}")
    return [Cell(f"{100 * value.mean:.1f}"), half, Cell(", ".join(f"{100 * one:.1f}" for one in value.values))]


def _colour(scene: Scene, label: str, model: str) -> str:
    return next((series_colour(one.number) for one in scene.series if (one.label, one.model) == (label, model)), "axis")
