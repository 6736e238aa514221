"""Results at the end as bars: one panel for each measure, one bar for each model, every seed a dot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING

from synoptic.experiment.comparison.columns import MODELS, QUANTITIES, Column
from synoptic.experiment.comparison.groups import Group
from synoptic.experiment.comparison.statistics import Estimate, estimate
from synoptic.experiment.comparison.table import Row, Table
from synoptic.experiment.comparison.text import cell_text, plain_text
from synoptic.experiment.report.draw import TEXT, drawing, identifier, plain, svg
from synoptic.experiment.report.palette import sentinel, series_colour
from synoptic.experiment.report.parts import DASH, Block, Cell, Figure, Grid, row, sentence, shortened, signed
from synoptic.experiment.report.results import NOTHING, before_and_after, ends, row_title
from synoptic.experiment.report.scene import Scene
from synoptic.experiment.report.terms import about_column

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEP = 39
"""Points for one bar and the name above it."""

LONGEST = 30
DOMAIN = "domain/"


@dataclass(frozen=True)
class Bar:
    """One bar; without a value its place says that the measure does not apply."""

    name: str
    colour: str
    value: Estimate | None


def bars(scene: Scene) -> Block | None:
    """Bars of every result in the table, and of domains where the data have some."""
    table = scene.table
    if table is None:
        return None
    columns = [column for column in table.columns if column.is_result]
    if len(scene.finished) == 1:
        figures = _single(scene, table)
    else:
        figures = [_column(scene, table, column) for column in columns]
    figures += _domains(scene)
    title = "Accuracies" if all(column.quantity == "accuracy" for column in columns) else "Results as bars"
    seeds = max(len(one.seeds) for one in table.rows)
    about = ("The end of a bar is the mean over seeds, the line across it the 95 % interval, and every dot a seed."
             if seeds > 1 else "One seed: no interval can be given.")  # fmt: skip
    return Block(title, (f"At the end. {about}",), figures=tuple(figures)) if figures else None


def figure(scene: Scene, title: str, about: str, entries: Sequence[Bar], column: Column) -> Figure:
    """A panel of bars: shares from 0 to 100 per cent, numbers over their own range and 0."""
    share = column.kind == "share"
    low, high = (0.0, 1.0) if share else _range(entries)
    height = STEP * len(entries) + 30
    with drawing(height, (4, 8, 4, 24)) as (drawn, axes):
        for place, entry in enumerate(entries):
            _draw(axes, place, entry, column, (low, high))
        _frame(axes, len(entries), share, (low, high))
        texts = "; ".join(f"{entry.name} {signed(cell_text(column, entry.value))}" for entry in entries)
        said = f"Bar chart of {title}{', per cent' if share else ''}: {texts}."
        picture = svg(drawn, identifier(scene.condition, "bar", title), said)
    rows = [row(entry.name, *_numbers(column, entry.value)) for entry in entries]
    grid = Grid(("method", "mean %" if share else "mean", "± (95 %)", "each seed"), tuple(rows), linked=3)
    return Figure(f"{title}, %" if share else title, about, picture, grid)


def _column(scene: Scene, table: Table, column: Column) -> Figure:
    entries = [Bar(row_title(scene, one), _colour(scene, one.label, one.model), one.cells.get(column.name))
               for one in table.rows]  # fmt: skip
    return figure(scene, column.name, about_column(column, scene.asks), entries, column)


def _single(scene: Scene, table: Table) -> list[Figure]:
    """One method: before and after, shares in one panel and every kind of number in one of its own."""
    group = scene.finished[0]
    trained = any(run.summary.get("rounds") for run in group.runs)
    split = "Each split before" if scene.tasks is None else "Before"
    about = f"{split} training (grey) and after the last round." if trained else "Nothing was trained."
    figures = []
    for one in table.rows:
        panels: dict[str, list[tuple[Column, Estimate]]] = {}
        for column, end in ends([table, scene.tasks] if scene.tasks is not None else [table], one.model):
            panels.setdefault("" if column.kind == "share" else f"{column.quantity}, ", []).append((column, end))
        for of, found in panels.items():
            entries = [bar for column, end in found for bar in _pair(scene, group, one, column, end)]
            title = f"{of}before and after" if trained else f"{of}before"
            title = title if len(table.rows) == 1 else f"{title} ({one.model})"
            figures.append(figure(scene, title, about, entries, found[0][0]))
    return figures


def _pair(scene: Scene, group: Group, one: Row, column: Column, end: Estimate) -> Iterator[Bar]:
    colour = _colour(scene, one.label, one.model)
    if not any(run.summary.get("rounds") for run in group.runs):
        yield Bar(column.name, colour, end)
        return
    start, _ = before_and_after(group, column, one.model)
    if start is not None:
        yield Bar(f"{column.name}, before", "axis", start)
    yield Bar(f"{column.name}, after", colour, end)


def _domains(scene: Scene) -> list[Figure]:
    """One panel for each domain that any finished run was measured on."""
    end = f"/{scene.quantity}/mean"
    starts = tuple(f"{model}/{DOMAIN}" for model in MODELS)
    measures = {name.split("/", 1)[1] for group in scene.finished for run in group.runs for name in run.measures()
                if name.startswith(starts) and name.endswith(end)}  # fmt: skip
    return [_domain(scene, measure, measure.removeprefix(DOMAIN).removesuffix(end)) for measure in sorted(measures)]


def _domain(scene: Scene, measure: str, name: str) -> Figure:
    kind, what = QUANTITIES[scene.quantity]
    of = "test questions in" if scene.asks else "test examples of trained classes in"
    of = of if scene.tasks is None else "all test examples of the task"
    column = Column(f"domain {name}", measure, kind, f"{what} on {of} {name}")
    entries = [Bar(one.name, series_colour(one.number), _over_seeds(scene, one.label, column.full(one.model)))
               for group in scene.finished for one in scene.of(group)]  # fmt: skip
    return figure(scene, column.name, sentence(column.about), entries, column)


def _over_seeds(scene: Scene, label: str, name: str) -> Estimate | None:
    group = scene.done(label)
    values = [run.measures().get(name) for run in group.runs] if group is not None else []
    known = [value for value in values if value is not None]
    return estimate(known) if known and len(known) == len(values) else None


def _range(entries: Sequence[Bar]) -> tuple[float, float]:
    """From the lowest to the highest of all means, intervals and seeds, 0 among them; never empty."""
    known = [entry.value for entry in entries if entry.value is not None]
    marks = [0.0, *(mark for one in known for mark in (one.mean, one.low, one.high, *one.values) if not isnan(mark))]
    low, high = min(marks), max(marks)
    return low, high if high > low else low + 1


def _draw(axes: Axes, place: int, entry: Bar, column: Column, limits: tuple[float, float]) -> None:
    top = place * STEP
    ink = sentinel("ink")
    scale = 100 if column.kind == "share" else 1
    left, right = (scale * end for end in limits)
    axes.text(left, top + TEXT, shortened(entry.name, LONGEST), va="baseline", color=sentinel("muted"))
    if entry.value is None or isnan(entry.value.mean):
        axes.text(left, top + 29, "n/a: does not apply" if entry.value is None else "not a number", va="baseline",
                  color=ink, style="italic")  # fmt: skip
        return
    value, middle = entry.value, top + 25
    mean = scale * value.mean
    axes.barh(middle, mean, height=13, color=sentinel(entry.colour), linewidth=0, clip_on=False)
    low, high = scale * max(value.low, limits[0]), scale * min(value.high, limits[1])
    if len(value.values) > 1:
        axes.plot([low, high], [middle, middle], color=ink, linewidth=1.4, solid_capstyle="butt", clip_on=False)
        axes.plot([scale * one for one in value.values], [middle] * len(value.values), "o", color=sentinel("card"),
                  markeredgecolor=ink, markersize=4.2, markeredgewidth=0.9, clip_on=False)  # fmt: skip
    axes.text(right, top + TEXT, signed(cell_text(column, value)), va="baseline", ha="right", color=ink)


def _frame(axes: Axes, count: int, share: bool, limits: tuple[float, float]) -> None:
    plain(axes, "x")
    axes.set_ylim(STEP * count - 2, 0)
    axes.set_yticks([])
    if not share:
        _number_axis(axes, count, limits)
        return
    axes.set_xlim(0, 100)
    axes.set_xticks([0, 25, 50, 75, 100])
    # The outermost numbers stay inside the drawing.
    axes.get_xticklabels()[0].set_horizontalalignment("left")
    axes.get_xticklabels()[-1].set_horizontalalignment("right")


def _number_axis(axes: Axes, count: int, limits: tuple[float, float]) -> None:
    """Round numbers within the limits, those at the ends inside the drawing; 0 is marked where bars go both ways."""
    from matplotlib.ticker import MaxNLocator

    low, high = limits
    near = 0.06 * (high - low)
    axes.set_xlim(low, high)
    axes.set_xticks([float(tick) for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high])
    for tick, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True):
        if tick - low < near or high - tick < near:
            label.set_horizontalalignment("left" if tick - low < near else "right")
    if low < 0:
        middles = [place * STEP + 25 for place in range(count)]
        axes.vlines([0] * count, [one - 9 for one in middles], [one + 9 for one in middles], color=sentinel("axis"),
                    linewidth=1)  # fmt: skip


def _numbers(column: Column, value: Estimate | None) -> list[Cell]:
    if value is None:
        return [NOTHING, NOTHING, NOTHING]
    mean, spread, *each = [signed(plain_text(column, one)) for one in (value.mean, value.half, *value.values)]
    half = Cell(DASH, absent=True) if isnan(value.low) else Cell(spread)
    return [Cell(mean), half, Cell(", ".join(each))]


def _colour(scene: Scene, label: str, model: str) -> str:
    return next((series_colour(one.number) for one in scene.series if (one.label, one.model) == (label, model)), "axis")
