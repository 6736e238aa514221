"""A newcomer's recipe: that of the run, with the newcomer's data and perhaps another amount of training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from synoptic.core import SynopticError
from synoptic.experiment.overrides import Setting, parse_override, settings_of
from synoptic.experiment.recipe import PATHS, Recipe, layered_recipe
from synoptic.experiment.records import RunRecord
from synoptic.experiment.yaml_text import Path_
from synoptic.learning.spec import TrainSpec

ITS_OWN = ("data", "train")
"""Sections that a newcomer may change; the rest must be the run's, or what it is given would not fit."""

HOLDERS = ("clients", "partition", "train_limit", "test_limit", "shots")
"""Data keys on who holds how much, which say nothing about a newcomer."""

EXAMPLE = "data=folder:PATH or data.path=PATH"


def newcomer_recipe(run: RunRecord, texts: Sequence[str]) -> Recipe:
    """The run's recipe with a newcomer's settings over it.

    The newcomer is the one client of its data, unless the settings say how they are shared out. Data of the run's own
    kind of source keep the run's other data keys (columns, template); data of another kind start anew. It trains as
    long as a client of the run did in all rounds, unless the settings say how long.

    Raises:
        SynopticError: no data, a key that is not the newcomer's, or a value that is not allowed.
    """
    settings = [parse_override(text) for text in texts]
    for path, _ in settings:
        if path[0] not in ITS_OWN:
            raise SynopticError(f"{'.'.join(path)} is the run's, and a newcomer takes it as it is",
                                f"change keys of {' or '.join(ITS_OWN)} alone")  # fmt: skip
    if not any(path[0] == "data" for path, _ in settings):
        raise SynopticError("nothing says which data the newcomer has", f"name them, such as {EXAMPLE}")
    tree = {key: value for key, value in run.recipe.items() if key not in ("method", "data")}
    layers = [[*settings_of(tree), (("method",), run.recipe["method"])], _data(run, settings), settings]
    recipe = layered_recipe(run.method, layers)
    train = recipe.train.model_copy(
        update={"schedule": "constant", "warmup": 0, **_as_long(run, recipe.train, settings)}
    )
    return recipe.model_copy(update={"train": train})


def _data(run: RunRecord, settings: Sequence[Setting]) -> list[Setting]:
    """The data keys below the newcomer's own settings."""
    held: dict[str, Any] = run.recipe["data"]
    kept = {key: value for key, value in held.items() if value is not None}
    source, _, path = _source(settings).partition(":")
    if "tasks" in (source, held["source"]):
        return _tasks(held, settings, source or held["source"])
    if source not in ("", held["source"]):
        kept = {}
    elif path or _touched(settings, ("data", "path")):
        kept = {key: value for key, value in kept.items() if key not in PATHS}
    if not _touched(settings, ("data", "clients"), ("data", "partition")):
        kept = {key: value for key, value in kept.items() if key not in HOLDERS}
        kept |= {"clients": 1, "partition": {"kind": "iid"}}
    return [(("data", key), value) for key, value in kept.items()]


def _tasks(held: dict[str, Any], settings: Sequence[Setting], source: str) -> list[Setting]:
    """The same of several tasks: the run's sites, one of each kind, unless the newcomer has tasks of its own."""
    if held["source"] != source:
        if source == "tasks":
            raise SynopticError("the newcomer has several tasks and the run one", "name data of the run's kind")
        raise SynopticError("the run has several tasks and the newcomer one",
                            "name the newcomer's tasks with data.tasks.own")  # fmt: skip
    own = _touched(settings, ("data", "tasks", "own"))
    kept = {key: value for key, value in held["tasks"].items() if not (own and key in ("own", "archetypes"))}
    path = [] if _touched(settings, ("data", "path")) else [(("data", "path"), held["path"])]
    return [(("data", "source"), source), *path, (("data", "tasks"), {**kept, "groups": 1})]


def _source(settings: Sequence[Setting]) -> str:
    """The source that the settings name, empty if none."""
    named = [value for path, value in settings if path in (("data",), ("data", "source")) and isinstance(value, str)]
    return named[-1] if named else ""


def _touched(settings: Sequence[Setting], *keys: Path_) -> bool:
    return any(path[: len(key)] == key for path, _ in settings for key in keys)


def _as_long(run: RunRecord, train: TrainSpec, settings: Sequence[Setting]) -> dict[str, int | None]:
    """How long a newcomer trains: as it says, or as long as a client of the run in all rounds."""
    if _touched(settings, ("train", "steps")):
        return {}
    if _touched(settings, ("train", "epochs")):
        return {"steps": None}
    rounds = max(1, int(run.summary["rounds"]))
    return {"epochs": train.epochs * rounds, "steps": None if train.steps is None else train.steps * rounds}
