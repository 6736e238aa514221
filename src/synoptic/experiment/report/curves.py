"""Learning curves: mean over seeds with a band from the lowest to the highest seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synoptic.experiment.comparison.columns import QUANTITIES, Column, kind_of
from synoptic.experiment.comparison.groups import Group
from synoptic.experiment.display.numbers import value_text
from synoptic.experiment.report.draw import drawing, identifier, line_look, plain, svg
from synoptic.experiment.report.history import LOG, LOSS, Curve
from synoptic.experiment.report.palette import sentinel, series_colour
from synoptic.experiment.report.parts import DASH, Block, Cell, Figure, Grid, Key, row, sentence, signed, thinned
from synoptic.experiment.report.scene import Scene, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT = 188
MARGINS = (42, 10, 14, 36)
PANELS = ("local", "base", "novel", "skill")
"""Columns that have a panel, where they were measured."""

MARKS = 8
"""Markers on a line, at most about so many."""


@dataclass(frozen=True)
class Line:
    """One line of a panel.

    Attributes:
        series: whose.
        name: what its legend says.
        seeds: a curve for each seed.
        whole: whether its runs are finished; one that is not is drawn thin and has no band.
        flat: whether nothing was trained, so that the start is drawn right across.
    """

    series: Series
    name: str
    seeds: tuple[Curve, ...]
    whole: bool = True
    flat: bool = False

    @property
    def rounds(self) -> list[int]:
        """Rounds at which every seed was measured."""
        return sorted(set.intersection(*(set(curve) for curve in self.seeds))) if self.seeds else []

    def at(self, round_: int) -> tuple[float, float, float]:
        """Mean, lowest and highest seed."""
        values = [curve[round_] for curve in self.seeds]
        return sum(values) / len(values), min(values), max(values)


def learning_curves(scene: Scene) -> Block | None:
    """A panel for each split that was measured by round, for each metric asked for, and for the training loss."""
    panels = {column.measure: (column.name, _caption(column)) for column in scene.columns if column.name in PANELS}
    panels |= {name: (name, f"{name} by round.") for name in scene.metrics if name not in panels}
    figures = [figure for measure, (title, about) in panels.items()
               if (figure := panel(scene, title, measure, lines_of(scene, measure), about)) is not None]  # fmt: skip
    loss = panel(scene, "training loss", LOSS, lines_of(scene, LOSS), "Training loss by round.")
    figures += [loss] if loss is not None else []
    problems = tuple(history.problem for history in scene.own_histories() if history.problem)
    if not figures:
        return Block("Learning curves", notes=problems) if problems else None
    return Block("Learning curves", (_about(scene),), figures=tuple(figures), notes=problems)


def _about(scene: Scene) -> str:
    several = any(len(group.runs) > 1 for group in scene.finished)
    band = "Lines are means over seeds; bands reach from the lowest to the highest seed. " if several else ""
    return f"{band}Round 0 is before training. The vertical axis shows the range that occurs, not all of it."


def lines_of(scene: Scene, measure: str) -> list[Line]:
    """Lines of all models that have a measure (``base/accuracy/mean``), or of all groups that logged a number."""
    found: list[Line] = []
    for group in scene.groups:
        models = scene.of(group)
        # A logged number belongs to the method, whichever models it has.
        for series in models[:1] if measure.startswith(LOG) else models:
            name = series.label if measure.startswith(LOG) else series.name
            full = measure if measure.startswith((LOG, "shared/", "personal/")) else f"{series.model}/{measure}"
            if measure.startswith(("shared/", "personal/")) and not measure.startswith(f"{series.model}/"):
                continue
            found += _of_group(scene, group, series, name, full)
    return found


def _of_group(scene: Scene, group: Group, series: Series, name: str, full: str) -> Iterator[Line]:
    curves = scene.curves(group, full)
    done = tuple(curves[run.seed] for run in group.runs if run.status == "finished" and run.seed in curves)
    if done:
        flat = all(run.recipe.get("rounds") == 0 for run in group.runs)
        yield Line(series, name, done, flat=flat)
    for run in group.runs:
        if run.status != "finished" and run.seed in curves:
            yield Line(series, f"{name}, seed {run.seed}, not finished", (curves[run.seed],), whole=False)


def panel(scene: Scene, title: str, measure: str, lines: Sequence[Line], about: str) -> Figure | None:
    """A panel of lines; None where there is no round but the start."""
    lines = [line for line in lines if line.rounds]
    # A single moment is no curve: the bars and tables show it.
    if not any(len(line.rounds) > 1 for line in lines):
        return None
    share = kind_of(measure) == "share"
    scale = 100 if share else 1
    last = max(line.rounds[-1] for line in lines)
    with drawing(HEIGHT, MARGINS) as (figure, axes):
        for line in lines:
            _draw(axes, line, last, scale)
        _frame(axes, last)
        drawn = svg(figure, identifier(scene.condition, "curve", title), _said(title, lines, measure))
    heading = f"{title}, %" if share else title
    # A legend of one entry says nothing new where there is only one method.
    alone = scene.single and len(lines) == 1 and lines[0].whole and lines[0].series in scene.series
    keys = () if alone else tuple(Key(line.name, line.series.number, faint=not line.whole) for line in lines)
    return Figure(heading, about, drawn, _grid(lines, measure), keys)


def _draw(axes: Axes, line: Line, last: int, scale: float) -> None:
    rounds = line.rounds
    values = [tuple(scale * value for value in line.at(round_)) for round_ in rounds]
    means, lows, highs = zip(*values, strict=True)
    look = line_look(line.series.number)
    if line.flat:
        axes.plot([0, last], [means[0]] * 2, **{**look, "markevery": [0, 1]})
        return
    if line.whole and len(line.seeds) > 1:
        colour = sentinel(series_colour(line.series.number))
        axes.fill_between(rounds, lows, highs, color=colour, alpha=0.16, linewidth=0, clip_on=False)
    if not line.whole:
        look |= {"linewidth": 1.0, "markersize": 4}
    axes.plot(rounds, means, **{**look, "markevery": max(1, -(-len(rounds) // MARKS))})


def _frame(axes: Axes, last: int) -> None:
    from matplotlib.ticker import MaxNLocator

    plain(axes, "y")
    axes.set_xlim(0, last)
    axes.margins(y=0.08)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("round", color=sentinel("muted"))
    axes.tick_params(axis="y", pad=8)


def _caption(column: Column) -> str:
    if column.quantity == "skill":
        return sentence(column.about)
    return sentence(f"{QUANTITIES[column.quantity][1]} on {column.name} test data by round")


def _said(title: str, lines: Sequence[Line], measure: str) -> str:
    ends = [f"{line.name} from {value_text(measure, line.at(line.rounds[0])[0])} to "
            f"{value_text(measure, line.at(line.rounds[-1])[0])}" for line in lines]  # fmt: skip
    return f"Line chart of {title} by round: {signed('; '.join(ends))}."


def _grid(lines: Sequence[Line], measure: str) -> Grid:
    rounds = sorted({round_ for line in lines for round_ in line.rounds})
    kept = [rounds[place] for place in thinned(len(rounds))]
    rows = [row(f"{round_}", *(_value(line, round_, measure) for line in lines)) for round_ in kept]
    caption = "Mean over seeds, and lowest to highest seed." if any(len(line.seeds) > 1 for line in lines) else ""
    if len(kept) < len(rounds):
        caption += f" {len(kept)} of {len(rounds)} rounds, evenly spaced."
    return Grid(("round", *(line.name for line in lines)), tuple(rows), caption.strip())


def _value(line: Line, round_: int, measure: str) -> Cell:
    if round_ not in line.rounds:
        return Cell(DASH, absent=True)
    mean, low, high = line.at(round_)
    note = f"{_short(measure, low)} to {_short(measure, high)}" if len(line.seeds) > 1 else ""
    return Cell(_short(measure, mean), note)


def _short(measure: str, value: float) -> str:
    return f"{100 * value:.1f}" if kind_of(measure) == "share" else signed(f"{value:.4g}")
