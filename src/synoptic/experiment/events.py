"""The event log, ``events.jsonl``: the source of truth of a run, one JSON object a line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synoptic.core import SynopticError

Event = dict[str, Any]


class EventLog:
    """Appends whole lines and forces them to disk, so that a crash can lose at most the line being written.

    Args:
        path: of the file.
        size: bytes to keep of an existing file; what a run wrote after its checkpoint is written again on resuming.
    """

    def __init__(self, path: Path, size: int = 0) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            # Never longer than it is: a lost file starts anew instead of with zeros.
            file.truncate(min(size, file.tell()))

    def append(self, event: Event) -> None:
        """Write one event."""
        with self._path.open("ab") as file:
            file.write(json.dumps(event, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._path.stat().st_size


def read_events(path: Path) -> Iterator[Event]:
    """The events of a file; a last line that is still being written is left out.

    Raises:
        SynopticError: no such file, or a damaged line before the last.
    """
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError as error:
        raise SynopticError(f"{path} does not exist", "give the folder of a run") from error
    for number, line in enumerate(lines, 1):
        try:
            yield json.loads(line)
        except ValueError as error:
            if number == len(lines) and not line.endswith(b"\n"):
                return
            raise SynopticError(f"line {number} of {path} is damaged", "restore the file from a copy") from error
