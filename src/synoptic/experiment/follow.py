"""Following a run that another process writes: what its log says since the last look, and when to stop looking."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

from synoptic.core.errors import SynopticError
from synoptic.experiment.events import Event
from synoptic.experiment.folder import RunFolder, being_written, existing_folder
from synoptic.experiment.records import read_run

POLL = 0.3
"""Seconds between two looks at a log."""

ASK = 2.0
"""Seconds without news after which one asks whether the run's process is still there.

Asking takes the run's lock for an instant, in which a process that wants to resume the run would be refused.
"""


@dataclass(frozen=True)
class News:
    """What a look at the log brought.

    Attributes:
        events: those not seen before.
        all: every event of the log, if lines that were seen are gone (a resumed run cuts what followed its checkpoint);
            None if nothing is gone.
    """

    events: list[Event] = field(default_factory=list)
    all: list[Event] | None = None


class LogReader:
    """Reads on where it stopped. Holds a checksum of each line, not the lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._marks: list[int] = []
        self._offset = 0
        self._last = b""

    def look(self) -> News:
        """What is new. A log that is not there yet is empty; a line that is being written waits for the next look.

        Raises:
            SynopticError: a damaged line.
        """
        try:
            tail, whole = self._read()
        except FileNotFoundError:
            return News()
        except OSError as error:
            raise SynopticError(f"{self._path} cannot be read ({error.strerror})", "check the file") from error
        if tail is not None:
            return News(self._take(tail))
        lines = _whole_lines(whole)
        marks = [crc32(line) for line in lines]
        kept = next((place for place, (old, new) in enumerate(zip(self._marks, marks, strict=False)) if old != new),
                    min(len(self._marks), len(marks)))  # fmt: skip
        self._marks, self._offset, self._last = [], 0, b""
        everything = self._take(whole)
        return News(everything[kept:], everything)

    def _read(self) -> tuple[bytes | None, bytes]:
        """What follows the last line seen, or, where that line is gone, nothing and the whole file."""
        with self._path.open("rb") as file:
            # A log that was cut and has grown again may be as long as before; the last line tells.
            file.seek(self._offset - len(self._last))
            tail = file.read()
            if tail.startswith(self._last):
                return tail[len(self._last) :], b""
            file.seek(0)
            return None, file.read()

    def _take(self, content: bytes) -> list[Event]:
        events = []
        for line in _whole_lines(content):
            event = _event(line)
            if event is None:
                raise SynopticError(f"line {len(self._marks) + 1} of {self._path} is damaged",
                                    "restore the file from a copy")  # fmt: skip
            events.append(event)
            self._marks.append(crc32(line))
            self._offset += len(line)
            self._last = line
        return events


def alive(folder: RunFolder) -> bool | None:
    """Whether a process writes the run; None where its lock is another user's."""
    if folder.lock.exists() and not os.access(folder.lock, os.R_OK | os.W_OK):
        return None
    return being_written(folder)


def follow(path: Path, take: Callable[[News], object], say: Callable[[str], object]) -> dict[str, Any]:
    """Hand on the events of a run as they are written, until it has finished or nobody writes it any more.

    Args:
        path: the run's folder.
        take: is given what each look brought.
        say: is told what is odd, in a sentence.

    Returns:
        The result, as in ``summary.json``; empty if the run stopped before its end.

    Raises:
        SynopticError: no run there, or a damaged log.
    """
    folder = existing_folder(path)
    reader = LogReader(folder.events)
    quiet, told = ASK, False
    while True:
        asked = quiet >= ASK
        # Asked first, read second: what a process wrote just before its end is seen.
        known = alive(folder) if asked else True
        try:
            news = reader.look()
        except SynopticError as error:
            return _result_without_log(folder, error, say)
        take(news)
        last: Event = news.events[-1] if news.events else {"type": ""}
        if last["type"] == "run_finished":
            summary: dict[str, Any] = last["summary"]
            return summary
        if known is False:
            return _result_without_log(folder, None, say)
        if known is None and not told:
            say("the run is another user's, so whether it still runs is not known; Ctrl-C ends the watching")
            told = True
        quiet = ASK if last["type"] == "interrupted" else 0.0 if asked or news.events else quiet + POLL
        time.sleep(POLL)


def _result_without_log(folder: RunFolder, error: SynopticError | None, say: Callable[[str], object]) -> dict[str, Any]:
    """The result of a finished run whose log is missing or damaged."""
    if folder.summary.exists():
        say(str(error) if error else f"{folder.events} does not tell the end of the run, {folder.summary.name} does")
        return read_run(folder.path).summary
    if error:
        raise error
    return {}


def _event(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "type" in event else None


def _whole_lines(content: bytes) -> list[bytes]:
    return [line for line in content.splitlines(keepends=True) if line.endswith(b"\n")]
