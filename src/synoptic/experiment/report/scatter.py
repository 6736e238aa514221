"""Personal against shared models of the same clients, one dot for each client and seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from synoptic.experiment.comparison.columns import QUANTITIES
from synoptic.experiment.comparison.groups import Group, same_problem
from synoptic.experiment.report.clients import by_client, table_of
from synoptic.experiment.report.draw import drawing, identifier, line_look, plain, svg
from synoptic.experiment.report.palette import sentinel
from synoptic.experiment.report.parts import Block, Figure, Grid, Key, row, sentence, signed, thinned
from synoptic.experiment.report.scene import Scene, Series

SCATTERED = 2000
"""Dots of a scatter plot; of more, evenly spaced ones are drawn and the caption says so."""


@dataclass(frozen=True)
class Pair:
    """A personal model and the shared one that it is held against; a dot is client, seed, shared, personal."""

    series: Series
    name: str
    dots: tuple[tuple[str, int, float, float], ...]


def scatter(scene: Scene) -> Block | None:
    """Personal against shared results of the same client and seed; None where there is nothing to hold against."""
    pairs = _pairs(scene)
    if not pairs:
        personal = any(one.model == "personal" for group in scene.finished for one in scene.of(group))
        why = ("The personal models have no shared model of the same data and seeds to be held against." if personal
               else "Not applicable: no method here has personal models.")  # fmt: skip
        if personal and scene.tasks is not None:
            why = "Clients have different tasks, whose results cannot be compared."
        return Block("Personal against shared", (why,)) if scene.finished else None
    dots = sum(len(pair.dots) for pair in pairs)
    what = QUANTITIES[scene.quantity][1]
    about = (f"Every dot is a client (and seed): the {what} of the shared model on its own test data to the right, of "
             "its personal model upwards. Above the line the personal model is better.")  # fmt: skip
    if dots > SCATTERED:
        about += f" {SCATTERED:,} of {dots:,} dots are drawn, evenly spaced."
    return Block("Personal against shared", figures=(_drawn(scene, pairs, about),))


def _pairs(scene: Scene) -> list[Pair]:
    result = []
    for group in scene.finished:
        for series in [one for one in scene.of(group) if one.model == "personal"]:
            other = _held_against(scene, group)
            if other is None:
                continue
            dots = _dots(group, other, scene.quantity)
            name = series.label if other is group else f"{series.label} against {other.label}"
            if dots:
                result.append(Pair(series, name, dots))
    return result


def _held_against(scene: Scene, group: Group) -> Group | None:
    """The group itself where it has a shared model too, else the first trained one that has, else any that has."""

    def shares(one: Group) -> bool:
        return any(series.model == "shared" for series in scene.of(one))

    if shares(group):
        return group
    others = [one for one in scene.finished if one is not group and shares(one) and same_problem(one, group)]
    trained = [one for one in others if any(run.recipe.get("rounds") for run in one.runs)]
    return next(iter([*trained, *others]), None)


def _dots(group: Group, other: Group, quantity: str) -> tuple[tuple[str, int, float, float], ...]:
    shared = {run.seed: by_client(table_of(run), "shared", quantity) for run in other.runs}
    return tuple(
        (client, run.seed, shared[run.seed][client], value)
        for run in group.runs
        for client, value in by_client(table_of(run), "personal", quantity).items()
        if client in shared.get(run.seed, {})
    )


def _drawn(scene: Scene, pairs: Sequence[Pair], about: str) -> Figure:
    from matplotlib.ticker import MaxNLocator

    kind, what = QUANTITIES[scene.quantity]
    scale, unit, text = (100, ", %", "{:.1f}") if kind == "share" else (1, "", "{:.2f}")
    low, high = _limits([scale * value for pair in pairs for _, _, x, y in pair.dots for value in (x, y)], kind)
    with drawing(296, (46, 10, 8, 44)) as (figure, axes):
        plain(axes, "both")
        axes.plot([low, high], [low, high], color=sentinel("axis"), linewidth=1)
        for pair in pairs:
            kept = thinned(len(pair.dots), SCATTERED // len(pairs))
            crowded = len(kept) > 200
            look = line_look(pair.series.number) | {"linestyle": "", "alpha": 0.35 if crowded else 0.8}
            look["markersize"] = 3 if crowded else 5.5
            axes.plot([scale * pair.dots[i][2] for i in kept], [scale * pair.dots[i][3] for i in kept], **look)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlim(low, high)
        axes.set_ylim(low, high)
        axes.set_xlabel(f"shared model{unit}", color=sentinel("muted"))
        axes.set_ylabel(f"personal model{unit}", color=sentinel("muted"), labelpad=2)
        above = [f"{pair.name}: {_above(pair)}" for pair in pairs]
        drawn = svg(figure, identifier(scene.condition, "scatter"), f"Scatter plot. {'; '.join(above)}.")
    rows = [row(f"{client}, seed {seed}, {pair.name}", *(signed(text.format(scale * value)) for value in (x, y)))
            for pair in pairs for client, seed, x, y in (pair.dots[i] for i in thinned(len(pair.dots)))]  # fmt: skip
    some = "" if len(rows) == sum(len(pair.dots) for pair in pairs) else "; of many clients evenly spaced ones"
    caption = sentence(f"{'per cent' if kind == 'share' else what}{some}")
    grid = Grid(("client", "shared", "personal"), tuple(rows), caption, linked=3)
    keys = tuple(Key(pair.name, pair.series.number, dots=True) for pair in pairs)
    return Figure(f"personal against shared{unit}", f"{about} {'. '.join(above)}.", drawn, grid, keys)


def _limits(values: Sequence[float], kind: str) -> tuple[float, float]:
    """A little more than the range of the values; shares stay within 0 and 100 per cent."""
    low, high = min(values), max(values)
    if kind == "share":
        return max(0.0, low - 4), min(100.0, high + 4)
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin


def _above(pair: Pair) -> str:
    better = sum(y > x for _, _, x, y in pair.dots)
    same = sum(y == x for _, _, x, y in pair.dots)
    equal = f", equal for {same:,}" if same else ""
    return f"personal better for {better:,} of {len(pair.dots):,}{equal}"
