"""Finished runs, made once in a session and removed at its end. Whoever changes one copies it first."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from runs import small
from synoptic.experiment.runner import run

_session = TemporaryDirectory(prefix="synoptic-tests-runs-")


@cache
def finished(method: str = "fedavg", *changes: str) -> Path:
    """The folder of a finished run of two rounds."""
    return run(small(Path(_session.name), method, "rounds=2", *changes)).folder
