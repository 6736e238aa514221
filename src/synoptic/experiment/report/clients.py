"""Clients one by one: a heat map of client by model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from synoptic.experiment.comparison.groups import Group
from synoptic.experiment.records import RunRecord
from synoptic.experiment.report.palette import LEVELS
from synoptic.experiment.report.parts import Block, Cell, Grid, and_list, row
from synoptic.experiment.report.results import NOTHING
from synoptic.experiment.report.scene import Scene, Series, first_runs

MOST = 40
"""Clients that have a row of their own; of more, quantiles are shown."""

QUANTILES = (0, 5, 10, 25, 50, 75, 90, 95, 100)

Clients = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Column:
    """Accuracies of one model by client."""

    name: str
    values: Mapping[str, float]


def heat_map(scene: Scene) -> Block | None:
    """Accuracy on own test data, client by model, of one seed; quantiles where there are many clients."""
    runs = first_runs(scene.finished)
    columns = [column for group in scene.finished for column in _columns(scene, group, runs[group.label])]
    if not columns:
        return None
    clients = list(dict.fromkeys(client for column in columns for client in column.values))
    about = (
        f"Accuracy on each client's own test data after the last round, in per cent, {_seeds(list(runs.values()))}. "
        "Who holds what depends on the seed."
    )
    if len(clients) > MOST:
        about += f" {len(clients):,} clients: every column has its own quantiles, so a row is not one client."
        grid = _quantiles(columns)
    else:
        grid = _by_client(columns, clients, _sizes(runs.values()))
    return Block("Client by client", (about,), grids=(grid,), notes=_unasked(list(runs.values())))


def accuracies(table: Clients, model: str) -> dict[str, float]:
    """Each client's accuracy on its own test data, by its name; clients without one are left out."""
    name = f"{model}/local/accuracy"
    return {client: float(one[name]) for client, one in table.items() if name in one and np.isfinite(one[name])}


def table_of(run: RunRecord) -> Clients:
    """What a finished run says about its clients."""
    return run.summary.get("clients") or {}


def _columns(scene: Scene, group: Group, run: RunRecord) -> Iterator[Column]:
    """Each model of a method; with a single method, what it was before training too."""
    for series in scene.of(group):
        start = accuracies(scene.history(run).before, series.model) if scene.single else {}
        if start:
            yield Column(_when(scene, series, "before"), start)
        values = accuracies(table_of(run), series.model)
        if values:
            yield Column(_when(scene, series, "after") if scene.single else series.name, values)


def _when(scene: Scene, series: Series, when: str) -> str:
    both = len({one.model for one in scene.series if one.label == series.label}) > 1
    return f"{when} ({series.model})" if both else when


def _sizes(runs: Iterable[RunRecord]) -> dict[str, float]:
    """Test examples of each client."""
    return {client: one["examples"] for run in runs for client, one in table_of(run).items() if "examples" in one}


def _by_client(columns: Sequence[Column], clients: Sequence[str], sizes: Mapping[str, float]) -> Grid:
    heat = Heat(columns)
    rows = []
    for client in clients:
        size = Cell(f"{sizes[client]:,.0f}") if client in sizes else NOTHING
        rows.append(row(client, size, *(heat.cell(column.values.get(client)) for column in columns)))
    head = ("client", "examples", *(column.name for column in columns))
    return Grid(head, tuple(rows), linked=2, scale=heat.scale)


def _quantiles(columns: Sequence[Column]) -> Grid:
    heat = Heat(columns)
    names = {0: "lowest client", 50: "50 % quantile (median)", 100: "highest client"}
    rows = [
        row(names.get(share, f"{share} % quantile"),
            *(heat.cell(float(np.quantile(list(column.values.values()), share / 100))) for column in columns))
        for share in QUANTILES
    ]  # fmt: skip
    return Grid(("quantile", *(column.name for column in columns)), tuple(rows), scale=heat.scale)


class Heat:
    """Colours of accuracies, from the lowest to the highest of all columns."""

    def __init__(self, columns: Sequence[Column]) -> None:
        everything = [value for column in columns for value in column.values.values()]
        self._low, self._high = min(everything), max(everything)

    def cell(self, value: float | None) -> Cell:
        """One accuracy, or that there is none."""
        if value is None:
            return NOTHING
        span = self._high - self._low
        level = LEVELS - 1 if span <= 0 else min(int(LEVELS * (value - self._low) / span), LEVELS - 1)
        return Cell(f"{100 * value:.1f}", level=level)

    @property
    def scale(self) -> tuple[str, str]:
        """What the lightest and the darkest colour stand for."""
        return f"{100 * self._low:.1f} %", f"{100 * self._high:.1f} %"


def _seeds(runs: Sequence[RunRecord]) -> str:
    seeds = sorted({run.seed for run in runs})
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {and_list([str(seed) for seed in seeds])}, one per method"


def _unasked(runs: Sequence[RunRecord]) -> tuple[str, ...]:
    bounds = [run.recipe.get("evaluate", {}).get("clients") for run in runs]
    most = [int(bound) for bound in bounds if isinstance(bound, int)]
    if most and max(len(table_of(run)) for run in runs) >= min(most):
        return (f"At most {min(most):,} clients were asked to evaluate (evaluate.clients), drawn once for each run.",)
    return ()
