"""Who holds what: examples by client and class (and domain), from the split that the run left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synoptic.data.federated import FederatedData
from synoptic.data.inspect import class_counts
from synoptic.experiment.report.draw import TEXT, drawing, identifier, svg
from synoptic.experiment.report.palette import LEVELS, sentinel
from synoptic.experiment.report.parts import Block, Cell, Figure, Grid, and_list, plural, row, shortened
from synoptic.experiment.report.scene import Scene

MOST = 40
"""Clients or classes that have a row or column of their own; of more, neighbours are put together."""

NAMED = 24
"""Columns that have room for their names."""

COLUMNS = {"class": "Classes", "kind": "Kinds", "answer": "Answers", "domain": "Domains"}
"""What the columns of a heat map are."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """Examples by row and column, perhaps means over several, and what these are called."""

    values: Floats
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    together: str = ""


def holdings(scene: Scene, data: FederatedData, seed: int) -> Block:
    """A heat map of clients by class, and one by domain where there are several."""
    by_class = class_counts(data)[:, data.base_classes]
    names = [data.class_names[index] for index in data.base_classes]
    figures = [_figure(scene, _kind(data)[0], _gathered(by_class, data, names))] if _told_apart(data) else []
    if len(data.train.domain_names) > 1:
        figures.append(_figure(scene, "domain", _gathered(class_counts(data, "domain"), data, data.train.domain_names)))
    return Block("Who holds what", (_sentence(data, by_class, seed),), figures=tuple(figures))


def _kind(data: FederatedData) -> tuple[str, str, str]:
    """What the classes are called in a title, one, and many: of questions kinds, a column's values, or the answers."""
    if not data.asks:
        return "class", "base class", "base classes"
    spec = data.origin.spec if data.origin is not None else None
    if spec is not None and spec.source == "questions":
        return "kind", "kind of question", "kinds of questions"
    return ("answer", "answer", "answers") if spec is None or spec.label is None else ("class", "class", "classes")


def _told_apart(data: FederatedData) -> bool:
    """Whether there are classes at all: free answers all have the same one."""
    return not data.asks or len(data.class_names) > 1


def _sentence(data: FederatedData, by_class: NDArray[np.int64], seed: int) -> str:
    held = data.clients.train_rows.counts
    each = (by_class > 0).sum(axis=1)
    novel = f" ({len(data.novel_classes)} more are novel)" if len(data.novel_classes) else ""
    sizes = f"from {held.min():,} to {held.max():,}, median {np.median(held):,.0f}"
    sizes = f"each {held.min():,}" if held.min() == held.max() else sizes
    span = f"{each.min()}" if each.min() == each.max() else f"{each.min()} to {each.max()}"
    _, one, many = _kind(data)
    of = f" of {plural(len(data.base_classes), one, many)}{novel}; a client holds {span} of these."
    rows = "questions" if data.asks else "examples"
    return (
        f"Seed {seed}. {plural(len(data.clients), 'client')}, {len(data.train):,} training {rows} ({sizes})"
        f"{of if _told_apart(data) else '.'} {len(data.test):,} test {rows} are nobody's training data."
    )


def _gathered(counts: NDArray[np.int64], data: FederatedData, columns: Sequence[str]) -> Counts:
    """At most `MOST` rows (many clients: sorted by size, neighbours averaged) and columns (many classes: summed)."""
    values: Floats = counts.astype(float)
    rows: tuple[str, ...] = tuple(data.clients.name(k) for k in range(len(counts)))
    said = []
    if len(rows) > MOST:
        order = np.argsort(-counts.sum(axis=1), kind="stable")
        parts = np.array_split(order, MOST)
        values = np.stack([values[part].mean(axis=0) for part in parts])
        edges = np.cumsum([0, *map(len, parts)])
        rows = tuple(f"{first + 1:,} to {last:,}" for first, last in pairwise(edges))
        said.append(f"clients sorted by size, each row the mean of about {len(parts[0])} of them")
    names = tuple(columns)
    if len(names) > MOST:
        groups = np.array_split(np.arange(len(names)), MOST)
        values = np.stack([values[:, part].sum(axis=1) for part in groups], axis=1)
        names = tuple(f"{columns[part[0]]} … {columns[part[-1]]}" if len(part) > 1 else columns[part[0]]
                      for part in groups)  # fmt: skip
        said.append(f"each column the sum of about {len(groups[0])} neighbouring ones")
    return Counts(values, rows, names, and_list(said))


def _figure(scene: Scene, what: str, counts: Counts) -> Figure:
    most = max(float(counts.values.max()), 1.0)
    about = f"Training examples by client and {what}; an empty field is none."
    about += f" Here {counts.together}." if counts.together else ""
    if len(counts.columns) > NAMED:
        about += f" {COLUMNS[what]} from left to right as in the table."
    drawn = _drawn(scene, what, counts, most)
    rows = [
        row(name, *(_number(value) for value in values))
        for name, values in zip(counts.rows, counts.values, strict=True)
    ]
    return Figure(f"examples by client and {what}", about, drawn, Grid(("client", *counts.columns), tuple(rows)),
                  scale=("1", f"{most:,.0f}"))  # fmt: skip


def _number(value: float) -> Cell:
    if value == 0:
        return Cell("·", absent=True)
    return Cell(f"{value:,.0f}" if value == round(value) else f"{value:,.1f}")


def _drawn(scene: Scene, what: str, counts: Counts, most: float) -> str:
    tall, wide = counts.values.shape
    named = wide <= NAMED
    names = [shortened(name, 14) for name in counts.columns]
    left = 10 + 6.6 * max(len(shortened(name, 14)) for name in counts.rows)
    under = (12 + 4.9 * max(map(len, names))) if named else 8
    cell = float(np.clip(420 / tall, 9, 24))
    with drawing(tall * cell + under + 6, (left, 6, 6, under)) as (figure, axes):
        _cells(axes, counts.values, most)
        axes.set_xlim(0, wide)
        axes.set_ylim(tall, 0)
        for spine in axes.spines.values():
            spine.set_color(sentinel("rule"))
        axes.tick_params(length=0, colors=sentinel("muted"), pad=3)
        step = max(1, -(-11 // int(cell)))
        places = range(0, tall, step)
        axes.set_yticks([place + 0.5 for place in places], [shortened(counts.rows[place], 14) for place in places],
                        fontsize=min(TEXT, cell * step * 0.9))  # fmt: skip
        slant: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor", "fontsize": 10}
        axes.set_xticks([place + 0.5 for place in range(wide)] if named else [], names if named else [], **slant)
        said = f"Heat map of training examples, {tall} rows of clients by {wide} columns; the numbers are in its table."
        return svg(figure, identifier(scene.condition, "holdings", what), said)


def _cells(axes: Any, values: Floats, most: float) -> None:
    """One path for each shade: forty times forty separate squares would be most of the page."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    # The square root keeps few examples apart from none.
    shade = np.ceil((LEVELS - 1) * np.sqrt(values / most)).astype(int)
    for level in range(1, LEVELS):
        squares = [Path([(x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1), (x, y)], closed=True)
                   for y, x in zip(*np.nonzero((shade == level) & (values > 0)), strict=True)]  # fmt: skip
        if squares:
            path = Path.make_compound_path(*squares)
            axes.add_patch(PathPatch(path, facecolor=sentinel(f"h{level}"), edgecolor=sentinel("card"), linewidth=0.6))
