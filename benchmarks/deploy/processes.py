"""Servers and nodes as processes of this machine, each in a group of its own and ended by its own number."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from synoptic.experiment.events import read_events

MAIN = (sys.executable, "-c", "from synoptic.cli import main; raise SystemExit(main())")
WAIT = 30.0


class Group:
    """A command and whatever it starts.

    Args:
        log: takes what it says.
        command: the words.
        folder: where it runs.
    """

    def __init__(self, log: Path, command: Sequence[str], folder: Path) -> None:
        self.log = log
        here = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "FLWR_HOME": str(folder / "flwr"),
                "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1",
                "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])}  # fmt: skip
        with log.open("ab") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=out, cwd=folder, env=os.environ | here,
                                             start_new_session=True)  # fmt: skip
        self.pid = self._process.pid

    @property
    def over(self) -> int | None:
        """Its exit status, once it has one."""
        return self._process.poll()

    def wait(self, seconds: float) -> int:
        return self._process.wait(seconds)

    def end(self) -> None:
        """End the group: at first politely."""
        for how in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.pid, how)
            except ProcessLookupError:
                return
            until = time.monotonic() + WAIT
            while time.monotonic() < until and _alive(self.pid):
                self._process.poll()
                time.sleep(0.1)


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def groups() -> Iterator[list[Group]]:
    """A list whose processes are all ended, whatever happens."""
    started: list[Group] = []
    try:
        yield started
    finally:
        for group in reversed(started):
            group.end()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


def rounds_done(output: Path) -> list[dict[str, Any]]:
    """The events of the finished rounds of the one run below this folder."""
    found = list(output.glob("*/events.jsonl"))
    return [event for event in read_events(found[0]) if event["type"] == "round"] if found else []
