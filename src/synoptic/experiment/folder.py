"""A run is a folder: recipe, events, checkpoints, personal state, adapters, summary."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from synoptic.core.errors import SynopticError

PACKAGES = ("synoptic", "torch", "tensordict", "transformers", "peft", "numpy")


PATIENCE = 0.5
"""Seconds to wait for a run that another process holds."""


@dataclass(frozen=True)
class RunFolder:
    """Paths inside one run's folder."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The fully resolved recipe."""
        return self.path / "recipe.yaml"

    @property
    def events(self) -> Path:
        """What happened, line by line."""
        return self.path / "events.jsonl"

    @property
    def checkpoints(self) -> Path:
        """States after the last rounds."""
        return self.path / "checkpoints"

    @property
    def personal(self) -> Path:
        """Personal state of clients."""
        return self.path / "personal"

    @property
    def adapters(self) -> Path:
        """Final adapters in PEFT's format."""
        return self.path / "adapters"

    @property
    def manifest(self) -> Path:
        """Who held which examples."""
        return self.path / "split"

    @property
    def environment(self) -> Path:
        """Versions, threads and stack size; resuming uses the same."""
        return self.path / "environment.json"

    @property
    def lock(self) -> Path:
        """Held by the process that writes the run; the file itself stays."""
        return self.path / ".lock"

    @property
    def summary(self) -> Path:
        """The result, for people and programs."""
        return self.path / "summary.json"


def new_folder(output: Path, name: str) -> RunFolder:
    """A folder that did not exist before: ``name``, or ``name-2`` and so on.

    Raises:
        SynopticError: the place cannot be written.
    """
    number = 1
    while True:
        path = output / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(parents=True)
            return RunFolder(path)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise SynopticError(f"the run folder {path} cannot be made ({error.strerror})",
                                "set output=DIR to a place you can write to") from error  # fmt: skip


def existing_folder(path: Path) -> RunFolder:
    """The folder of an earlier run.

    Raises:
        SynopticError: no such folder, or not one of a run.
    """
    folder = RunFolder(path)
    if not path.is_dir():
        raise SynopticError(f"there is no run folder {path}", "give the path that the run printed")
    if not folder.recipe.exists():
        raise SynopticError(f"{path} is no run folder: it has no recipe.yaml", "give the path that the run printed")
    return folder


@contextmanager
def writing(folder: RunFolder) -> Iterator[None]:
    """Keep other processes from writing the same run.

    Raises:
        SynopticError: another process does.
    """
    try:
        # A moment of patience: whoever only asks (`being_written`) holds the lock for an instant.
        with FileLock(folder.lock, timeout=PATIENCE):
            yield
    except Timeout as error:
        raise SynopticError(f"the run {folder.path} is being written by another process",
                            f"follow it with: synoptic watch {folder.path}") from error  # fmt: skip


def being_written(folder: RunFolder) -> bool:
    """Whether a process holds the run right now."""
    if not folder.lock.exists():
        return False
    try:
        with FileLock(folder.lock, blocking=False):
            return False
    except Timeout:
        return True
    except OSError:
        # A folder that only others may write: nobody can be asked.
        return False


def describe_environment(threads: int, stack: int, base: str) -> dict[str, Any]:
    """What may change float results or speed."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "threads": threads,
        "stack": stack,
        "base": base,
        "packages": {name: _version(name) for name in PACKAGES},
        "revision": source_revision(),
    }


@cache
def source_revision() -> str | None:
    """Which commit of Synoptic runs here, ``-dirty`` with changes; None for an installed release."""
    here = Path(__file__)
    git = ["git", "-C", str(here.parent)]
    try:
        # A release may be installed inside somebody's own repository, which says nothing about us.
        subprocess.run([*git, "ls-files", "--error-unmatch", here.name], check=True, capture_output=True, timeout=10)
        told = subprocess.run([*git, "describe", "--always", "--dirty"], check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.decode().strip()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
