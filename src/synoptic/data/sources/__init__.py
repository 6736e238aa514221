"""Sources: one function each from a `DataSpec` to train and test tables, found by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from synoptic.data.sources.embedded import digits_source, world_source
from synoptic.data.sources.folder import folder_source
from synoptic.data.sources.hub import hub_source
from synoptic.data.sources.parquet import parquet_source
from synoptic.data.sources.questions import questions_source
from synoptic.data.sources.source import Source
from synoptic.data.spec import DataSpec
from synoptic.data.task_spec import TaskWorldSpec

__all__ = ["OPENERS", "Source", "open_source"]


def _tasks_source(spec: DataSpec) -> Source:
    # Data of several tasks are federated data themselves, so they cannot be imported before those are.
    from synoptic.data.task_world import task_world

    own = spec.tasks or TaskWorldSpec()
    world = task_world(own, spec.path)
    return Source(world.train, world.test, tasks=world.tasks,
                  shared_out=lambda seed: world.clients(own.validation, seed))  # fmt: skip


OPENERS: Final[dict[str, Callable[[DataSpec], Source]]] = {
    "digits": digits_source,
    "world": world_source,
    "questions": questions_source,
    "tasks": _tasks_source,
    "parquet": parquet_source,
    "folder": folder_source,
    "hub": hub_source,
}


def open_source(spec: DataSpec) -> Source:
    """The tables of a source, whole; pictures of real sources stay encoded.

    Raises:
        SynopticError: for a missing path, file, column or word; the sentence says which exist.

    """
    return OPENERS[spec.source](spec)
