"""From folders on the command line to groups: runs are found, read, and split by the problem that they solve."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from synoptic.core.errors import SynopticError
from synoptic.core.files import read_json
from synoptic.experiment.comparison.groups import PROBLEM, Group, deciding, group
from synoptic.experiment.records import RunRecord, flat, read_run
from synoptic.experiment.report.claims import check_claims
from synoptic.experiment.report.facts import settings_apart
from synoptic.experiment.report.parts import placeless

RECIPE = "recipe.yaml"
SPEAKING = ("data.source", "model")
"""Settings whose value says what it is."""


@dataclass(frozen=True)
class Gathered:
    """Groups, each with its condition, and a sentence for each folder that was left out."""

    groups: tuple[Group, ...]
    left_out: tuple[str, ...] = ()


def gather(paths: Sequence[Path]) -> Gathered:
    """The runs in these folders.

    A damaged run that was named is an error; one that was only found beside others is left out with a sentence.

    Raises:
        SynopticError: no such folder, none with a run, a damaged run that was named, or the same run twice.
    """
    records: dict[Path, RunRecord] = {}
    left_out: list[str] = []
    for path in paths:
        for folder in _run_folders(path):
            try:
                records.setdefault(folder.resolve(), _read(folder))
            except SynopticError as error:
                if folder == path:
                    raise
                left_out.append(placeless(str(error), folder))
    left_out += _drop_repeats(records, {path.resolve() for path in paths})
    if not records:
        raise SynopticError(f"no run could be read ({left_out[0].removesuffix('.')})", "give the folder of another run")
    return Gathered(tuple(_by_problem(list(records.values()))), tuple(left_out))


def _drop_repeats(records: dict[Path, RunRecord], named: set[Path]) -> list[str]:
    """Of runs with one recipe and seed that were only found keep one, a finished one if there is one."""
    kept: dict[tuple[str, int], Path] = {}
    said: list[str] = []
    # Those that were named come first, then the finished ones.
    for folder in sorted(records, key=lambda one: (one not in named, records[one].status != "finished")):
        record = records[folder]
        first = kept.setdefault((repr(deciding(record.recipe)), record.seed), folder)
        if first != folder and folder not in named:
            del records[folder]
            said.append(f"{record.name}: the same recipe and seed as {first.name}.")
    return said


def read_claims(path: Path) -> tuple[Mapping[str, Any], ...]:
    """The rows of a claims file.

    Raises:
        SynopticError: no such file, not JSON, or no claims.
    """
    return check_claims(read_json(path), f"the claims in {path}")


def _run_folders(path: Path) -> list[Path]:
    if not path.is_dir():
        raise SynopticError(f"there is no run folder {path}", "give the path that the run printed")
    if (path / RECIPE).exists():
        return [path]
    found: list[Path] = []
    for place, folders, files in os.walk(path):
        folders.sort()
        if RECIPE in files:
            found.append(Path(place))
            # A run holds no other runs.
            folders.clear()
    if not found:
        raise SynopticError(
            f"{path} is no run folder and holds none", "give the folder of a run, or one with runs in it"
        )
    return found


def _read(folder: Path) -> RunRecord:
    record = read_run(folder)
    summary = record.summary
    if summary and not _is_whole(summary):
        raise SynopticError(f"{record.folder.summary} is not a run's summary",
                            f"remove the file and go on with: synoptic run --resume {folder}")  # fmt: skip
    return record


def _is_whole(summary: Mapping[str, Any]) -> bool:
    """Whether the numbers that tables are made of are numbers."""
    tables = [summary["metrics"], summary.get("before", {}), summary["seconds"], summary.get("work", {})]
    ways = summary["bytes"]
    if not all(isinstance(table, Mapping) for table in (*tables, ways, summary.get("clients", {}))):
        return False
    values = [value for table in tables for value in table.values()]
    values += [ways.get("up"), ways.get("down"), summary["rounds"]]
    return all(isinstance(value, int | float) for value in values)


def _by_problem(records: Sequence[RunRecord]) -> list[Group]:
    """Groups; runs on different data or bases stand under different conditions, named by what differs."""
    problems: dict[str, list[RunRecord]] = {}
    for record in records:
        problems.setdefault(repr(_problem(record)), []).append(record)
    if len(problems) == 1:
        return group(records)
    names = condition_names([_problem(runs[0]) for runs in problems.values()])
    return [replace(one, condition=name) for name, runs in zip(names, problems.values(), strict=True)
            for one in group(runs)]  # fmt: skip


def condition_names(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """A name for each problem: the first settings that differ, as many as it takes to tell all apart.

    >>> condition_names([{"data.source": "digits", "data.novel": 0.3}, {"data.source": "world", "data.novel": 0.5}])
    ['digits', 'world']
    """
    names = ["", *settings_apart(settings)]
    for count in range(1, len(names)):
        texts = [", ".join(_spoken(name, one.get(name)) for name in names[1 : count + 1]) for one in settings]
        if len(set(texts)) == len(texts):
            return texts
    return [str(place + 1) for place in range(len(settings))]


def _spoken(name: str, value: Any) -> str:
    return str(value) if name in SPEAKING else f"{name}={value}"


def _problem(record: RunRecord) -> dict[str, Any]:
    return {name: value for name, value in flat(record.recipe) if name.startswith(PROBLEM)}
