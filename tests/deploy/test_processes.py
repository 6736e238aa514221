"""Server and nodes as people start them: processes, killed and started again. Each is ended by its own number."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runs import small
from synoptic.core.files import read_json
from synoptic.experiment.events import read_events
from synoptic.experiment.runner import run

WAIT = 600.0
ROUNDS = 6
MAIN = "from synoptic.cli import main; raise SystemExit(main())"


class Process:
    """A command of ours in the background."""

    def __init__(self, folder: Path, name: str, *arguments: str) -> None:
        self.log = folder / f"{name}.log"
        environment = {**os.environ, "FLWR_HOME": str(folder / "flwr"), "OMP_NUM_THREADS": "1"}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([sys.executable, "-c", MAIN, *arguments], stdout=log, stderr=log,
                                             env=environment, cwd=folder)  # fmt: skip

    def kill(self, how: signal.Signals = signal.SIGKILL) -> int:
        """End this very process."""
        self._process.send_signal(how)
        return self._process.wait(WAIT)

    def wait(self) -> int:
        return self._process.wait(WAIT)

    def end(self) -> None:
        if self._process.poll() is None:
            self.kill()


@pytest.fixture
def started() -> Iterator[list[Process]]:
    processes: list[Process] = []
    yield processes
    for process in processes:
        process.end()


def until_round(output: Path, number: int) -> Path:
    """The run's folder, once so many rounds are done."""
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        for path in output.glob("*/events.jsonl"):
            if sum(event["type"] == "round" for event in read_events(path)) >= number:
                return path.parent
        time.sleep(0.05)
    raise AssertionError(f"round {number} was not reached")


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_kill_a_node_then_the_server_and_end_where_an_undisturbed_run_does(
    tmp_path: Path, started: list[Process]
) -> None:
    settings = ["data.train_limit=60", "data.test_limit=40", "data.clients=3", "train.batch_size=8",
                "compute.threads=1", "federation.stack=1", f"rounds={ROUNDS}"]  # fmt: skip
    straight = run(small(tmp_path / "here", "local", "federation.stack=1", f"rounds={ROUNDS}"))
    port = str(20_000 + os.getpid() % 10_000)

    def begin(name: str, *arguments: str) -> Process:
        started.append(Process(tmp_path, name, *arguments))
        return started[-1]

    def server(*what: str) -> Process:
        return begin("serve", "serve", *what, "--listen", f"127.0.0.1:{port}", "--insecure", "--grace", "600")

    def node(seat: int) -> Process:
        return begin(f"node{seat}", "join", f"127.0.0.1:{port}", "--partition", f"{seat}/3", "--insecure",
                     "--state", f"site{seat}")  # fmt: skip

    first = server("local", *settings, "output=runs")
    nodes = [node(seat) for seat in range(3)]
    folder = until_round(tmp_path / "runs", 1)
    nodes[1].kill()
    nodes[1] = node(1)
    until_round(tmp_path / "runs", 3)
    first.kill()
    second = server("--resume", str(folder))
    assert second.wait() == 0, (tmp_path / "serve.log").read_text()
    assert [one.wait() for one in nodes] == [0, 0, 0]
    summary = read_json(folder / "summary.json")
    assert summary["metrics"] == straight.metrics
    assert not [event for event in read_events(folder / "events.jsonl") if event["type"] in ("failure", "round_failed")]
