"""What all parts of a page look at: groups, their models as numbered series, and every run's history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from synoptic.experiment.comparison.columns import MODELS, Column, judged_by, task_columns
from synoptic.experiment.comparison.groups import Group
from synoptic.experiment.comparison.table import Table
from synoptic.experiment.records import RunRecord
from synoptic.experiment.report.history import Curve, History, read_history


@dataclass(frozen=True)
class Series:
    """One model of one method: what has a colour and a line of its own.

    Attributes:
        label: the group's.
        model: ``shared`` or ``personal``.
        name: what legends and tables say.
        number: decides colour, marker and line style; the same in every part of the page.
    """

    label: str
    model: str
    name: str
    number: int


@dataclass(frozen=True)
class Scene:
    """One condition: everything that its part of the page shows.

    Attributes:
        condition: empty where there is only one.
        name: short and unique, begins ids.
        groups: all runs.
        finished: the same groups with nothing but finished runs; groups without any are left out.
        series: models in all conditions.
        histories: by place (`place_of`).
        table: of finished groups; None where nothing is finished.
        baseline: label that others are compared with; empty without a table.
        metrics: further measures that were asked for, by name.
        tasks: the same rows as the table with a column for each task; None where all clients have the same one.
    """

    condition: str
    name: str
    groups: tuple[Group, ...]
    finished: tuple[Group, ...]
    series: tuple[Series, ...]
    histories: Mapping[str, History]
    table: Table | None = None
    baseline: str = ""
    metrics: tuple[str, ...] = ()
    tasks: Table | None = None

    def of(self, group: Group) -> list[Series]:
        """The models of a group."""
        here = {name for run in group.runs for name in measured(run, self.history(run))}
        found = [one for one in self.series if one.label == group.label]
        return [one for one in found if any(name.startswith(f"{one.model}/") for name in here)]

    def history(self, run: RunRecord) -> History:
        """A run's history."""
        return self.histories[place_of(run)]

    def curves(self, group: Group, name: str) -> dict[int, Curve]:
        """One curve for each seed that has this number."""
        found = {run.seed: self.history(run).curves.get(name, {}) for run in group.runs}
        return {seed: curve for seed, curve in found.items() if curve}

    def own_histories(self) -> list[History]:
        """Histories of this condition's runs, in order."""
        return [self.history(run) for group in self.groups for run in group.runs]

    @property
    def single(self) -> bool:
        """Whether there is only one method to show."""
        return len(self.groups) == 1

    @property
    def asks(self) -> bool:
        """Whether all runs are about questions and answers."""
        return all(run.asks for group in self.groups for run in group.runs)

    @property
    def columns(self) -> tuple[Column, ...]:
        """What says how well models do, finished or not."""
        return judged_by(self._names())

    @property
    def task_columns(self) -> tuple[Column, ...]:
        """What says how well models do at each task; empty where all clients have the same one."""
        return task_columns(self._names())

    @property
    def quantity(self) -> str:
        """What clients can be compared by: a known utility where there is one, else accuracy or preference."""
        return next((column.quantity for column in self.columns if column.name == "local"), "accuracy")

    def _names(self) -> list[str]:
        return [name for group in self.groups for run in group.runs for name in measured(run, self.history(run))]

    def done(self, label: str) -> Group | None:
        """The finished runs of a group."""
        return next((group for group in self.finished if group.label == label), None)


def place_of(run: RunRecord) -> str:
    """What tells a run from all others."""
    return str(run.folder.path)


def read_histories(groups: Sequence[Group]) -> dict[str, History]:
    """Every run's history, read once."""
    return {place_of(run): read_history(run) for group in groups for run in group.runs}


def measured(run: RunRecord, history: History) -> list[str]:
    """Names of all metrics of a run, from its summary and its log."""
    logged = (name for name in history.curves if name.startswith(tuple(f"{model}/" for model in MODELS)))
    return list(dict.fromkeys([*run.summary.get("metrics", {}), *logged]))


def number_series(groups: Sequence[Group], histories: Mapping[str, History]) -> tuple[Series, ...]:
    """Models of all groups, numbered by first appearance; equal labels in several conditions are one."""
    models: dict[str, set[str]] = {}
    for group in groups:
        found = models.setdefault(group.label, set())
        for run in group.runs:
            names = measured(run, histories[place_of(run)])
            found |= {model for model in MODELS if any(name.startswith(f"{model}/") for name in names)}
    result: list[Series] = []
    for label, have in models.items():
        for model in [model for model in MODELS if model in have] or [MODELS[0]]:
            name = label if have <= {MODELS[0]} else f"{label} ({model})"
            result.append(Series(label, model, name, len(result)))
    return tuple(result)


def only_finished(groups: Sequence[Group]) -> tuple[Group, ...]:
    """Groups with nothing but finished runs."""
    kept = [replace(group, runs=tuple(run for run in group.runs if run.status == "finished")) for group in groups]
    return tuple(group for group in kept if group.runs)


def first_runs(groups: Sequence[Group]) -> dict[str, RunRecord]:
    """One run of each group: of the smallest seed that all have, else of each one's own smallest."""
    common = set.intersection(*(set(group.seeds) for group in groups)) if groups else set()
    seed = min(common) if common else None
    return {group.label: next((run for run in group.runs if run.seed == seed), group.runs[0]) for group in groups}
