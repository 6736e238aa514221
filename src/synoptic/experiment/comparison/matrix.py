"""Runs a suite: what is finished is taken as it is, what stopped goes on, what is missing is run.

Whatever happens, finished rounds stay on disk, so running the suite again goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from synoptic.core.errors import SynopticError
from synoptic.experiment.comparison.columns import TESTS
from synoptic.experiment.comparison.groups import Group
from synoptic.experiment.comparison.suite import Cell, Suite
from synoptic.experiment.comparison.table import Table, by_task, tabulate
from synoptic.experiment.events import Event
from synoptic.experiment.recipe import Recipe, read_recipe
from synoptic.experiment.records import RunRecord, read_run

Observer = Callable[[Event], None]


@dataclass(frozen=True)
class Problem:
    """A cell without a result, and why."""

    cell: Cell
    sentence: str


@dataclass(frozen=True)
class Comparison:
    """What a suite gave: groups of finished runs (condition by condition), and the cells that failed."""

    suite: Suite
    groups: tuple[Group, ...]
    problems: tuple[Problem, ...]

    def tables(self) -> list[Table]:
        """For each condition that has a result its table; where clients have different tasks, those by task behind it.

        Raises:
            SynopticError: the suite names a metric that no run has, or its baseline has no result.
        """
        found: list[Table | None] = []
        for name in dict.fromkeys(group.condition for group in self.groups):
            groups = [group for group in self.groups if group.condition == name]
            found.append(tabulate(groups, self.suite.baseline, self.suite.metrics))
            found += [by_task(groups, self.suite.baseline, tests) for tests in TESTS]
        return [table for table in found if table is not None]


@dataclass(frozen=True)
class Job:
    """One cell with its recipe, and the folder of an earlier attempt."""

    number: int
    cell: Cell
    recipe: Recipe
    earlier: Path | None = None


def run_suite(
    suite: Suite, output: Path, observers: Sequence[Observer] = (), jobs: int = 1, fresh: bool = False
) -> Comparison:
    """Run what is missing and collect everything.

    Args:
        suite: what is compared.
        output: where runs lie; finished ones are looked for here.
        observers: called with ``suite_started``, ``cell`` (a cell's status changed) and ``cell_event`` (an event of the
            run in a cell).
        jobs: processes at work at once; more than one pays where cores are idle and ``compute.threads`` is 1.
        fresh: run everything anew, whatever is there.

    Raises:
        SynopticError: a recipe that cannot be, told before anything runs.
        KeyboardInterrupt: passed on; every finished round is saved.
    """
    if output.exists() and not output.is_dir():
        raise SynopticError(f"{output} is a file", "set --output to a folder")
    recipes = [suite.recipe_of(cell, output) for cell in suite.cells]

    def tell(event: Event) -> None:
        for observer in observers:
            observer(event)

    tell({"type": "suite_started", "name": suite.name, "cells": [str(cell) for cell in suite.cells],
          "labels": list(suite.methods), "conditions": list(suite.conditions), "seeds": list(suite.seeds)})  # fmt: skip
    records: dict[Cell, RunRecord] = {}
    problems: list[Problem] = []
    waiting: list[Job] = []

    def settle(job: Job, result: Path | str, reused: bool = False) -> None:
        """A cell has its result (the run's folder), or a sentence that says why it has none."""
        try:
            if isinstance(result, str):
                raise SynopticError(result.removesuffix("."))
            records[job.cell] = read_run(result)
        except SynopticError as error:
            problems.append(Problem(job.cell, str(error)))
            tell({"type": "cell", "cell": job.number, "status": "failed", "reason": str(error)})
        else:
            seconds = records[job.cell].summary["seconds"]["total"]
            tell({"type": "cell", "cell": job.number, "status": "reused" if reused else "done", "seconds": seconds,
                  "metrics": records[job.cell].summary["metrics"]})  # fmt: skip

    for number, (cell, recipe) in enumerate(zip(suite.cells, recipes, strict=True)):
        try:
            earlier = None if fresh else find_run(recipe)
        except SynopticError as error:
            settle(Job(number, cell, recipe), str(error))
            continue
        job = Job(number, cell, recipe, earlier.folder.path if earlier is not None else None)
        if earlier is not None and earlier.status == "finished":
            settle(job, earlier.folder.path, reused=True)
        else:
            waiting.append(job)
    for job, result in _results(waiting, jobs, tell):
        settle(job, result)
    return Comparison(suite, tuple(_groups(suite, records)), tuple(problems))


def find_run(recipe: Recipe) -> RunRecord | None:
    """An earlier run of the same recipe and seed in the recipe's output folder; a finished one if there is one.

    It must have read the same files, and none of them may have changed since it began.

    Raises:
        SynopticError: the only one there is has a missing or damaged file.
    """
    from synoptic.experiment.runner import run_name

    name = run_name(recipe)
    found: list[RunRecord] = []
    damaged: list[SynopticError] = []
    for path in sorted(Path(recipe.output).glob(f"{name}*")):
        number = path.name.removeprefix(name)
        if number and not (number.startswith("-") and number[1:].isdigit()):
            continue
        try:
            record = read_run(path)
            stored = read_recipe(record.folder.recipe)
            if stored.hash == recipe.hash and _same_files(stored, recipe, record.folder.recipe):
                found.append(record)
        except SynopticError as error:
            damaged.append(error)
    if damaged and not found:
        raise damaged[0]
    return next((record for record in found if record.status == "finished"), found[0] if found else None)


def _same_files(stored: Recipe, recipe: Recipe, made: Path) -> bool:
    """Whether data and base are the very files that a run read; the hash knows only what they are called."""
    for before, now in ((stored.data.path, recipe.data.path), (stored.data.test_path, recipe.data.test_path),
                        (stored.model, recipe.model)):  # fmt: skip
        if before != now:
            return False
        place = Path(now) if now is not None else None
        if place is not None and place.is_absolute() and place.exists():
            files = [place, *place.rglob("*")] if place.is_dir() else [place]
            if any(file.stat().st_mtime > made.stat().st_mtime for file in files):
                return False
    return True


def perform(job: Job, observers: Sequence[Observer] = ()) -> Path | str:
    """Run one cell to its end: the run's folder, or a sentence that says what a user can mend."""
    from synoptic.experiment import runner

    try:
        if job.earlier is not None:
            return runner.resume(job.earlier, observers).folder
        return runner.run(job.recipe, observers).folder
    except SynopticError as error:
        return str(error)


def _results(waiting: Sequence[Job], jobs: int, tell: Observer) -> Iterator[tuple[Job, Path | str]]:
    if jobs > 1 and len(waiting) > 1:
        from synoptic.experiment.comparison.workers import in_processes

        yield from in_processes(waiting, min(jobs, len(waiting)), tell)
        return
    for job in waiting:
        tell({"type": "cell", "cell": job.number, "status": "running"})
        yield job, perform(job, [partial(_of_cell, tell, job.number)])


def _of_cell(tell: Observer, number: int, event: dict[str, Any]) -> None:
    tell({"type": "cell_event", "cell": number, "event": event})


def _groups(suite: Suite, records: dict[Cell, RunRecord]) -> Iterator[Group]:
    for condition in suite.conditions:
        for label in suite.methods:
            runs = [records[cell] for seed in sorted(suite.seeds) if (cell := Cell(label, condition, seed)) in records]
            if runs:
                yield Group(label, tuple(runs), condition)
