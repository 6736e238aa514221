"""Clients one by one: a heat map of client by model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from synoptic.experiment.comparison.columns import QUANTITIES
from synoptic.experiment.comparison.groups import Group
from synoptic.experiment.records import RunRecord
from synoptic.experiment.report.palette import LEVELS
from synoptic.experiment.report.parts import Block, Cell, Grid, and_list, row, sentence, signed
from synoptic.experiment.report.results import NOTHING
from synoptic.experiment.report.scene import Scene, Series, first_runs

MOST = 40
"""Clients that have a row of their own; of more, quantiles are shown."""

QUANTILES = (0, 5, 10, 25, 50, 75, 90, 95, 100)

Clients = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Column:
    """What one model reached by client."""

    name: str
    values: Mapping[str, float]


def heat_map(scene: Scene) -> Block | None:
    """Results on own test data, client by model, of one seed; quantiles where there are many clients."""
    runs = first_runs(scene.finished)
    columns = [column for group in scene.finished for column in _columns(scene, group, runs[group.label])]
    if not columns:
        return None
    clients = list(dict.fromkeys(client for column in columns for client in column.values))
    kind, what = QUANTITIES[scene.quantity]
    unit = ", in per cent" if kind == "share" else ""
    about = sentence(
        f"{what} on each client's own test data after the last round{unit}, {_seeds(list(runs.values()))}. "
        "Who holds what depends on the seed"
    )
    if len(clients) > MOST:
        about += f" {len(clients):,} clients: every column has its own quantiles, so a row is not one client."
        grid = _quantiles(columns, Heat(columns, kind))
    else:
        grid = _by_client(columns, Heat(columns, kind), clients, _sizes(runs.values()))
    return Block("Client by client", (about,), grids=(grid,), notes=_unasked(list(runs.values())))


def by_client(table: Clients, model: str, quantity: str) -> dict[str, float]:
    """What each client's model reached on its own test data, by its name; clients without it are left out."""
    name = f"{model}/local/{quantity}"
    return {client: float(one[name]) for client, one in table.items() if name in one and np.isfinite(one[name])}


def table_of(run: RunRecord) -> Clients:
    """What a finished run says about its clients."""
    return run.summary.get("clients") or {}


def _columns(scene: Scene, group: Group, run: RunRecord) -> Iterator[Column]:
    """Each model of a method; with a single method, what it was before training too."""
    for series in scene.of(group):
        start = by_client(scene.history(run).before, series.model, scene.quantity) if scene.single else {}
        if start:
            yield Column(_when(scene, series, "before"), start)
        values = by_client(table_of(run), series.model, scene.quantity)
        if values:
            yield Column(_when(scene, series, "after") if scene.single else series.name, values)


def _when(scene: Scene, series: Series, when: str) -> str:
    both = len({one.model for one in scene.series if one.label == series.label}) > 1
    return f"{when} ({series.model})" if both else when


def _sizes(runs: Iterable[RunRecord]) -> dict[str, float]:
    """Test examples of each client."""
    return {client: one["examples"] for run in runs for client, one in table_of(run).items() if "examples" in one}


def _by_client(columns: Sequence[Column], heat: Heat, clients: Sequence[str], sizes: Mapping[str, float]) -> Grid:
    rows = []
    for client in clients:
        size = Cell(f"{sizes[client]:,.0f}") if client in sizes else NOTHING
        rows.append(row(client, size, *(heat.cell(column.values.get(client)) for column in columns)))
    head = ("client", "examples", *(column.name for column in columns))
    return Grid(head, tuple(rows), linked=2, scale=heat.scale)


def _quantiles(columns: Sequence[Column], heat: Heat) -> Grid:
    names = {0: "lowest client", 50: "50 % quantile (median)", 100: "highest client"}
    rows = [
        row(names.get(share, f"{share} % quantile"),
            *(heat.cell(float(np.quantile(list(column.values.values()), share / 100))) for column in columns))
        for share in QUANTILES
    ]  # fmt: skip
    return Grid(("quantile", *(column.name for column in columns)), tuple(rows), scale=heat.scale)


class Heat:
    """Colours of shares or numbers, from the lowest to the highest of all columns."""

    def __init__(self, columns: Sequence[Column], kind: str) -> None:
        self._share = kind == "share"
        everything = [value for column in columns for value in column.values.values()]
        self._low, self._high = min(everything), max(everything)

    def cell(self, value: float | None) -> Cell:
        """One value, or that there is none."""
        if value is None:
            return NOTHING
        span = self._high - self._low
        level = LEVELS - 1 if span <= 0 else min(int(LEVELS * (value - self._low) / span), LEVELS - 1)
        return Cell(self._text(value), level=level)

    @property
    def scale(self) -> tuple[str, str]:
        """What the lightest and the darkest colour stand for."""
        unit = " %" if self._share else ""
        return f"{self._text(self._low)}{unit}", f"{self._text(self._high)}{unit}"

    def _text(self, value: float) -> str:
        return f"{100 * value:.1f}" if self._share else signed(f"{value:.2f}")


def _seeds(runs: Sequence[RunRecord]) -> str:
    seeds = sorted({run.seed for run in runs})
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {and_list([str(seed) for seed in seeds])}, one per method"


def _unasked(runs: Sequence[RunRecord]) -> tuple[str, ...]:
    bounds = [run.recipe.get("evaluate", {}).get("clients") for run in runs]
    most = [int(bound) for bound in bounds if isinstance(bound, int)]
    if most and max(len(table_of(run)) for run in runs) >= min(most):
        return (f"At most {min(most):,} clients were asked to evaluate (evaluate.clients), drawn once for each run.",)
    return ()
