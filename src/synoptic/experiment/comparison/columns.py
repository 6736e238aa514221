"""The columns of a comparison: what each measures, in which unit, and whether more of it is better."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from synoptic.core.errors import SynopticError, nearest

MODELS = ("shared", "personal")


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

TASKS = {"accuracy": ("share", "{}", "accuracy on {} of the task {}"),
         "error": ("number", "{} error", "mean squared error on {} of the task {}")}  # fmt: skip
"""What single tasks are measured by: its kind, the heading, and the definition, a mean over the clients who have it."""

TESTS = {"local": "own test data", "domain": "all clients' test data"}
"""Where tasks are measured, and in words."""

COSTS = (
    Column("bytes", "bytes/total", "bytes", "payload up and down, all clients and rounds, evaluation left out",
           higher_is_better=False, of_model=False),
    Column("local steps", "work/steps", "number", "optimiser steps of all clients together; server steps not counted",
           higher_is_better=False, of_model=False),
    Column("seconds", "seconds/total", "seconds", "training, evaluation and communication on this machine",
           higher_is_better=False, of_model=False),
)  # fmt: skip
"""What a method spends."""

COLUMNS = (*_of("accuracy"), *SKILLS, *COSTS)


def judged_by(names: Iterable[str]) -> tuple[Column, ...]:
    """The columns that say how well models do, by the names of all that was measured."""
    known = set(names)
    best = next((some for some in QUANTITIES if any(f"/{some}/" in name for name in known)), "accuracy")
    return measured_of((*_of(best), *SKILLS), known)


def task_columns(names: Iterable[str], tests: str = "local") -> tuple[Column, ...]:
    """A column for each task, by the names of all that was measured, in their order.

    Args:
        names: of what was measured, with their models.
        tests: one of `TESTS`. Only where clients have different tasks are the ``domain`` ones tasks.
    """
    found = dict.fromkeys(name.partition("/")[2] for name in names if name.startswith(MODELS))
    split = [(measure, measure.split("/")) for measure in found]
    return tuple(
        Column(TASKS[parts[2]][1].format(parts[1]), measure, TASKS[parts[2]][0],
               TASKS[parts[2]][2].format(TESTS[tests], parts[1]), higher_is_better=parts[2] != "error")
        for measure, parts in split
        if len(parts) == 4 and parts[0] == tests and parts[2] in TASKS and parts[3] == "mean"
    )  # fmt: skip


def kind_of(measure: str) -> str:
    """How a measure is shown: shares in per cent, bytes, or a number."""
    share = "/accuracy" in measure or "/preference" in measure
    return "share" if share else "bytes" if measure.startswith("bytes/") else "number"


def measured_of(columns: Iterable[Column], known: Container[str]) -> tuple[Column, ...]:
    """Those of the columns that some model was measured by."""
    return tuple(column for column in columns if any(column.full(model) in known for model in MODELS))


def extra(name: str, known: set[str]) -> Column:
    """A column that a suite asks for by the name of a metric.

    Raises:
        SynopticError: no run has it.
    """
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
