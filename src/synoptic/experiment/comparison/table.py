"""The table of a comparison: one row for each method and model, one column for each measure, numbers not yet text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from synoptic.core.errors import SynopticError, nearest
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

MODELS = ("shared", "personal")
SAME_WORK = 0.02
"""Local steps that differ by more than this share are pointed out."""


@dataclass(frozen=True)
class Column:
    """One measure.

    Attributes:
        name: the heading.
        measure: the metric's name behind its model (``base/accuracy/mean``), or a whole name (``bytes/total``).
        kind: ``share`` (shown in per cent), ``bytes``, ``seconds`` or ``number``.
        about: its definition.
        higher_is_better: whether more is better.
        of_model: whether each model (shared, personal) has its own.
    """

    name: str
    measure: str
    kind: str
    about: str
    higher_is_better: bool = True
    of_model: bool = True

    def full(self, model: str) -> str:
        """The measure's whole name."""
        return f"{model}/{self.measure}" if self.of_model else self.measure

    @property
    def quantity(self) -> str:
        """What is averaged: ``accuracy``, ``utility``, ``preference``, ``skill``, ``error`` and so on."""
        return "/".join(self.measure.split("/")[-2:-1])

    @property
    def is_result(self) -> bool:
        """Whether it says how well a model does; what belongs to no model is a cost, or something that was logged."""
        named = self.of_model or self.measure.startswith(tuple(f"{model}/" for model in MODELS))
        return self.kind == "share" or (self.kind == "number" and named)


QUANTITIES = {"utility": ("number", "true utility"), "accuracy": ("share", "accuracy"),
              "preference": ("share", "share of pairs in the right order")}  # fmt: skip
"""How well models do, by what is known of it: columns are about the first of these that was measured."""

SPLITS = (
    ("local", "local", "mean", "on a client's own test data, mean over clients"),
    ("worst client", "local", "worst", "on own test data of the client with the lowest"),
    ("base", "base", "mean", "on all test examples of classes seen in training"),
    ("novel", "novel", "mean", "on test examples of classes that nobody trained on"),
    ("HM", "hm", "mean", "harmonic mean of base and novel"),
    ("global", "global", "mean", "on all test examples, among the names of all classes"),
)


def _of(quantity: str) -> tuple[Column, ...]:
    kind, what = QUANTITIES[quantity]
    # Only classes are told by their names.
    left_out = "" if quantity == "accuracy" else ", among the names of all classes"
    return tuple(
        Column(name, f"{split}/{quantity}/{average}", kind,
               about if split == "hm" else f"{what} {about.removesuffix(left_out)}")
        for name, split, average, about in SPLITS
    )  # fmt: skip


SKILLS = (
    Column("skill", "local/skill/mean", "number",
           "skill on own test data: 0 without looking at the input, 1 if perfect; mean over tasks"),
    Column("worst task", "local/skill/worst", "number", "skill on own test data of the task with the lowest"),
)  # fmt: skip
"""Where clients have different tasks; accuracies of these have no mean."""

TASKS = {"accuracy": ("share", "{}", "accuracy on own test data of the task {}"),
         "error": ("number", "{} error", "mean squared error on own test data of the task {}")}  # fmt: skip
"""What single tasks are measured by: its kind, the heading, and the definition, a mean over the clients who have it."""

COLUMNS = (
    *_of("accuracy"),
    *SKILLS,
    Column("bytes", "bytes/total", "bytes", "payload up and down, all clients and rounds, evaluation left out",
           higher_is_better=False, of_model=False),
    Column("local steps", "work/steps", "number", "optimiser steps of all clients together; server steps not counted",
           higher_is_better=False, of_model=False),
    Column("seconds", "seconds/total", "seconds", "training, evaluation and communication on this machine",
           higher_is_better=False, of_model=False),
)  # fmt: skip


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
    """Rows under one condition. ``notes`` say whatever a reader must know to compare them."""

    condition: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    baseline: str
    notes: tuple[str, ...]


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
    columns = (*judged_by(known), *(_extra(name, known) for name in metrics), *_known(COLUMNS[-3:], known))
    return Table(groups[0].condition, columns, _rows(groups, baseline, columns), baseline, tuple(_notes(groups)))


def by_task(groups: Sequence[Group], baseline: str) -> Table | None:
    """The same rows with a column for each task; None where clients do not have tasks of different kinds.

    Args:
        groups: of finished runs.
        baseline: label of the group that others are compared with.
    """
    columns = task_columns(name for group in groups for run in group.runs for name in run.measures())
    return Table(groups[0].condition, columns, _rows(groups, baseline, columns), baseline, ()) if columns else None


def judged_by(names: Iterable[str]) -> tuple[Column, ...]:
    """The columns that say how well models do, by the names of all that was measured."""
    known = set(names)
    best = next((some for some in QUANTITIES if any(f"/{some}/" in name for name in known)), "accuracy")
    return _known((*_of(best), *SKILLS), known)


def task_columns(names: Iterable[str]) -> tuple[Column, ...]:
    """A column for each task, by the names of all that was measured, in their order."""
    found = dict.fromkeys(name.partition("/")[2] for name in names if name.startswith(MODELS))
    split = [(measure, measure.split("/")) for measure in found]
    return tuple(
        Column(TASKS[parts[2]][1].format(parts[1]), measure, TASKS[parts[2]][0], TASKS[parts[2]][2].format(parts[1]),
               higher_is_better=parts[2] != "error")
        for measure, parts in split
        if len(parts) == 4 and parts[0] == "local" and parts[2] in TASKS and parts[3] == "mean"
    )  # fmt: skip


def kind_of(measure: str) -> str:
    """How a measure is shown: shares in per cent, bytes, or a number."""
    share = "/accuracy" in measure or "/preference" in measure
    return "share" if share else "bytes" if measure.startswith("bytes/") else "number"


def _known(columns: Iterable[Column], known: Container[str]) -> tuple[Column, ...]:
    return tuple(column for column in columns if any(column.full(model) in known for model in MODELS))


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


def _extra(name: str, known: set[str]) -> Column:
    kind = kind_of(name)
    higher = not ("loss" in name or "/error/" in name or name.startswith(("bytes/", "seconds/", "work/")))
    if name in known:
        return Column(name, name, kind, f"the metric {name}", higher, of_model=False)
    if any(f"{model}/{name}" in known for model in MODELS):
        return Column(name, name, kind, f"the metric {name} of each model", higher)
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    some = ", ".join(sorted(one for one in known if one.endswith("accuracy/mean"))[:4])
    raise SynopticError(f"no run has a metric '{name}'",
                        nearest(name, known) if close else f"metrics are called like {some}")  # fmt: skip


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
