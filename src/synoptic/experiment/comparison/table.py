"""The table of a comparison: one row for each method and model, one column for each measure, numbers not yet text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from synoptic.core.errors import SynopticError, nearest
from synoptic.experiment.comparison.columns import (
    COSTS,
    MODELS,
    TESTS,
    Column,
    extra,
    judged_by,
    measured_of,
    task_columns,
)
from synoptic.experiment.comparison.groups import (
    BUDGET,
    PROBLEM,
    Group,
    differences,
    same_problem,
    what_is_trained,
)
from synoptic.experiment.comparison.statistics import Difference, Estimate, difference, estimate
from synoptic.experiment.keys import value_text

BUSY = 0.5
"""Cores at other work from which on seconds cannot be trusted."""

SAME_WORK = 0.02
"""Local steps that differ by more than this share are pointed out."""


@dataclass(frozen=True)
class Row:
    """One method's model: what it reached, and its paired difference to the baseline; absent means not applicable."""

    label: str
    model: str
    seeds: tuple[int, ...]
    cells: Mapping[str, Estimate]
    against: Mapping[str, Difference] = field(default_factory=dict)
    is_baseline: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under one condition.

    Attributes:
        condition: its name.
        columns: what was measured.
        rows: a method's model each.
        baseline: what others are compared with.
        notes: whatever a reader must know to compare them.
        title: what sets it apart from others of the same condition.
    """

    condition: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    baseline: str
    notes: tuple[str, ...]
    title: str = ""


def tabulate(groups: Sequence[Group], baseline: str | None = None, metrics: Sequence[str] = ()) -> Table:
    """The table of groups that solved one problem.

    Args:
        groups: of finished runs.
        baseline: label of the group that others are compared with; the first when left out.
        metrics: further columns by metric name, such as ``shared/domain/pastel/accuracy/mean`` or
            ``domain/pastel/accuracy/mean`` for both models.

    Raises:
        SynopticError: no such baseline, or a metric that no run has.
    """
    labels = [group.label for group in groups]
    baseline = baseline if baseline is not None else labels[0]
    if baseline not in labels:
        raise SynopticError(f"the baseline '{baseline}' is not among the compared", nearest(baseline, labels))
    known = {name for group in groups for run in group.runs for name in run.measures()}
    columns = (*judged_by(known), *(extra(name, known) for name in metrics), *measured_of(COSTS, known))
    return Table(groups[0].condition, columns, _rows(groups, baseline, columns), baseline, tuple(_notes(groups)))


def by_task(groups: Sequence[Group], baseline: str | None = None, tests: str = "local") -> Table | None:
    """The same rows with a column for each task; None where clients do not have tasks of different kinds.

    Args:
        groups: of finished runs.
        baseline: label of the group that others are compared with; the first when left out.
        tests: on which test data, one of `synoptic.experiment.comparison.columns.TESTS`.
    """
    known = [name for group in groups for run in group.runs for name in run.measures()]
    tasks = {column.name for column in task_columns(known)}
    columns = tuple(column for column in task_columns(known, tests) if column.name in tasks)
    if not columns:
        return None
    baseline = baseline if baseline is not None else groups[0].label
    return Table(groups[0].condition, columns, _rows(groups, baseline, columns), baseline, (), f"On {TESTS[tests]}")


def _rows(groups: Sequence[Group], baseline: str, columns: Sequence[Column]) -> tuple[Row, ...]:
    against = next(group for group in groups if group.label == baseline)
    measured = [[run.measures() for run in group.runs] for group in groups]
    rows: list[Row] = []
    for place, one in enumerate(groups):
        for model in _models(measured[place]):
            cells = {
                column.name: estimate([measures[column.full(model)] for measures in measured[place]])
                for column in columns
                if _belongs(column, model) and all(column.full(model) in measures for measures in measured[place])
            }
            paired = {} if one is against or not same_problem(one, against) else _paired(one, against, model, columns)
            rows.append(Row(one.label, model, one.seeds, cells, paired, one is against))
    return tuple(rows)


def _belongs(column: Column, model: str) -> bool:
    """Whether a row may show a column: what names a model is of that model alone."""
    named = column.measure.partition("/")[0]
    return column.of_model or named not in MODELS or named == model


def _models(measured: Iterable[Mapping[str, float]]) -> list[str]:
    """The models that runs have: everybody's, each client's own, or both."""
    names = {name.partition("/")[0] for measures in measured for name in measures}
    return [model for model in MODELS if model in names] or [MODELS[0]]


def _paired(one: Group, against: Group, model: str, columns: Sequence[Column]) -> dict[str, Difference]:
    mine = {run.seed: run.measures() for run in one.runs}
    theirs = {run.seed: run.measures() for run in against.runs}
    seeds = [seed for seed in mine if seed in theirs]
    other = model if any(name.startswith(f"{model}/") for name in next(iter(theirs.values()))) else _other(model)
    result = {}
    for column in columns:
        pairs = [(mine[seed].get(column.full(model)), theirs[seed].get(column.full(other))) for seed in seeds]
        both = [(a, b) for a, b in pairs if a is not None and b is not None]
        if both and len(both) == len(seeds):
            result[column.name] = difference([a for a, _ in both], [b for _, b in both], column.higher_is_better)
    return result


def _other(model: str) -> str:
    return MODELS[1 - MODELS.index(model)]


def _notes(groups: Sequence[Group]) -> list[str]:
    notes = []
    if len({one.seeds for one in groups}) > 1:
        each = "; ".join(f"{one.label}: {', '.join(map(str, one.seeds))}" for one in groups)
        notes.append(f"Not all have the same seeds ({each}); differences use the seeds that both have.")
    if len({tuple(_models(run.measures() for run in one.runs)) for one in groups}) > 1:
        notes.append("Differences are between models of the same kind, else with the one that the baseline has.")
    for name, values in differences(groups).items():
        if not name.startswith("compute.") or name.startswith(PROBLEM):
            each = _by_value([one.label for one in groups], [value_text(value) for value in values])
            notes.append(f"{name} {_kind(name)} ({each}).")
    trained = [what_is_trained(one.recipe) for one in groups]
    if len(set(trained)) > 1:
        notes.append(f"What is trained differs ({_by_value([one.label for one in groups], trained)}).")
    notes += _work_notes(groups)
    versions = {str(run.summary.get("environment", {}).get("packages", {}).get("synoptic")) for one in groups
                for run in one.runs}  # fmt: skip
    notes += _busy_notes(groups)
    revisions = {str(run.summary.get("environment", {}).get("revision")) for one in groups for run in one.runs}
    if len(revisions) > 1:
        notes.append(f"The runs were made by different revisions of the code ({', '.join(sorted(revisions))}).")
    bases = set().union(*(one.bases for one in groups))
    if len(versions) > 1:
        notes.append(f"The runs were made by different versions of Synoptic ({', '.join(sorted(versions))}).")
    if len(bases) > 1:
        prints = ", ".join(sorted(bases))
        notes.append(f"The runs stand on different bases and are not paired across them (fingerprints {prints}).")
    return notes


def _busy_notes(groups: Sequence[Group]) -> list[str]:
    """Whether seconds can be trusted: the load when a run began, less what the run before it may have left."""
    environments = [run.summary.get("environment", {}) for one in groups for run in one.runs]
    others = max((one.get("load", 0.0) - one.get("threads", 1) for one in environments), default=0.0)
    if others <= BUSY:
        return []
    return [f"Seconds may be too long: when runs began, the load was up to {others:.1f} above their own threads."]


def _by_value(labels: Sequence[str], values: Sequence[str]) -> str:
    """``promptfl: 0.01, others: 0.001``; everyone by name where no value is shared by more than two."""
    usual, count = Counter(values).most_common(1)[0]
    few = [f"{label}: {value}" for label, value in zip(labels, values, strict=True) if count < 3 or value != usual]
    return ", ".join(few if count < 3 else [*few, f"others: {usual}"])


def _kind(name: str) -> str:
    if name.startswith(PROBLEM):
        return "differs, so this is not the same problem, and such runs are not paired"
    return "differs, so this is not the same budget" if name in BUDGET else "differs"


def _work_notes(groups: Sequence[Group]) -> list[str]:
    steps = {one.label: _mean(one, "work/steps") for one in groups}
    trained = sorted(count for count in steps.values() if count)
    if not trained:
        return ["Local compute was not recorded by the version that made these runs."]
    usual = trained[len(trained) // 2]
    odd = [f"{label} {count:,.0f}" for label, count in steps.items() if abs(count - usual) > SAME_WORK * usual]
    what = f"{usual:,.0f} optimiser steps, all clients together"
    notes = [f"Local compute: {what}, except {', '.join(odd)}." if odd else f"Equal local compute: {what}."]
    server = {one.label: count for one in groups if (count := _mean(one, "work/server_steps"))}
    if server:
        each = ", ".join(f"{label} {count:,.0f}" for label, count in server.items())
        notes.append(f"Optimiser steps on the server besides: {each}.")
    return notes


def _mean(one: Group, name: str) -> float:
    values = [run.measures().get(name, 0.0) for run in one.runs]
    return sum(values) / len(values)
