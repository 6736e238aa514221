"""A run as others left it: read, never changed.

Reading needs neither the method nor the base that made the run, so a report can be made where they are not installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from synoptic.core.errors import SynopticError
from synoptic.core.files import read_json
from synoptic.experiment.events import Event, read_events
from synoptic.experiment.folder import RunFolder, being_written, existing_folder
from synoptic.experiment.yaml_text import read_yaml

Status = Literal["finished", "running", "stopped"]
NEEDED = ("method", "seed", "recipe_hash", "rounds", "metrics", "bytes", "seconds", "model")


@dataclass(frozen=True)
class RunRecord:
    """What a run's folder says.

    Attributes:
        folder: where it lies.
        recipe: the resolved recipe as plain values, ``recipe["train"]["lr"]``.
        status: ``finished``; ``running`` while a process writes it; ``stopped`` otherwise.
        summary: all of ``summary.json``; empty unless finished.
    """

    folder: RunFolder
    recipe: dict[str, Any]
    status: Status
    summary: dict[str, Any]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.path.name

    @property
    def method(self) -> str:
        """The method's name."""
        return str(self.recipe["method"]["name"])

    @property
    def seed(self) -> int:
        """Root of the run's random streams."""
        return int(self.recipe["seed"])

    @property
    def asks(self) -> bool:
        """Whether its data are questions with answers; else they are pictures with classes."""
        data = self.recipe.get("data") or {}
        columns = (data.get(key) for key in ("question", "instruction"))
        return data.get("source") == "questions" or any(column is not None for column in columns)

    def events(self) -> list[Event]:
        """All events so far.

        Raises:
            SynopticError: the log is missing or damaged.
        """
        return list(read_events(self.folder.events))

    def measures(self) -> dict[str, float]:
        """Every number of a finished run by name.

        Metrics as they are (``shared/base/accuracy/mean``), the same before training (``before/...``), and
        ``bytes/up``, ``bytes/down``, ``bytes/total``, ``seconds/<part>``, ``work/<part>``, ``rounds``,
        and what the method logged, as its mean over rounds, ``log/<name>``.
        """
        summary = self.summary
        if not summary:
            return {}
        moved = {way: float(summary["bytes"][way]) for way in ("up", "down")}
        return {
            **summary["metrics"],
            **{f"before/{name}": value for name, value in summary.get("before", {}).items()},
            **{f"bytes/{way}": count for way, count in moved.items()},
            "bytes/total": sum(moved.values()),
            **{f"seconds/{part}": value for part, value in summary["seconds"].items()},
            **{f"work/{part}": value for part, value in summary.get("work", {}).items()},
            **{f"log/{name}": value for name, value in summary.get("log", {}).items()},
            "rounds": float(summary["rounds"]),
        }


def read_run(path: Path) -> RunRecord:
    """The run in a folder.

    Raises:
        SynopticError: no run there, or one of its files is missing or damaged.
    """
    folder = existing_folder(path)
    recipe, _ = read_yaml(folder.recipe)
    method = recipe.get("method")
    if not isinstance(method, Mapping) or "name" not in method or not isinstance(recipe.get("seed"), int):
        raise SynopticError(f"{folder.recipe} is not a run's resolved recipe",
                            "restore the file, or run the recipe again")  # fmt: skip
    if not folder.summary.exists():
        return RunRecord(folder, recipe, "running" if being_written(folder) else "stopped", {})
    again = f"remove the file and go on with: synoptic run --resume {path}"
    try:
        summary = read_json(folder.summary)
    except SynopticError as error:
        raise SynopticError(error.what, again) from error
    missing = [key for key in NEEDED if not isinstance(summary, Mapping) or key not in summary]
    missing += ["seconds/total"] if not missing and "total" not in summary["seconds"] else []
    if missing:
        raise SynopticError(f"{folder.summary} lacks {', '.join(missing)}", again)
    return RunRecord(folder, recipe, "finished", summary)


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A recipe's values by dotted key, in order."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
