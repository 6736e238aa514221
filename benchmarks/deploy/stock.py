"""A round with Flower's stock nodes and with resident ones, on the same work: what each adds to the round itself."""

from __future__ import annotations

import os
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.deploy.processes import MAIN, Group, free_port, groups, rounds_done
from synoptic.experiment.recipe import load_recipe
from synoptic.experiment.runner import run

NODES = 2
ROUNDS = {"resident": 10, "stock": 3}
"""A stock round takes most of a minute."""

SETTINGS = (
    f"data.clients={NODES}", "data.train_limit=60", "data.test_limit=40", "train.batch_size=8", "compute.threads=1",
    "federation.stack=1", "output=runs",
)  # fmt: skip
WAIT = 3600.0


def compare(rounds: dict[str, int] = ROUNDS) -> dict[str, Any]:
    """Seconds of a round in one process, over resident nodes and over stock ones; overheads and their ratio.

    A round asks every node twice: for training, and for an evaluation. The first round, in which nodes warm up, is
    left out for all.
    """
    seconds = {kind: deployed(kind, count) for kind, count in rounds.items()}
    here = statistics.median(alone(rounds["resident"]))
    overhead = {kind: statistics.median(times) - here for kind, times in seconds.items()}
    return {
        "nodes": NODES, "asks_per_round": 2, "method": "fedavg", "seconds_in_one_process": round(here, 4),
        "seconds_per_round": {kind: [round(one, 3) for one in times] for kind, times in seconds.items()},
        "overhead": {kind: round(value, 3) for kind, value in overhead.items()},
        "ratio": round(overhead["stock"] / overhead["resident"], 1),
    }  # fmt: skip


def alone(rounds: int) -> list[float]:
    """Seconds of the rounds in this process."""
    with TemporaryDirectory() as place:
        run(load_recipe("fedavg", [*SETTINGS, f"rounds={rounds}", f"output={place}"]))
        return [event["seconds"] for event in rounds_done(Path(place))][1:]


def deployed(kind: str, rounds: int) -> list[float]:
    """Seconds of the rounds over nodes of this kind, plain text on this machine."""
    with TemporaryDirectory() as place, groups() as started:
        folder, port = Path(place), free_port()
        server = [*MAIN, "serve", "fedavg", *SETTINGS, f"rounds={rounds}", "--insecure", "--grace", "600",
                  "--patience", str(WAIT), "--listen", f"127.0.0.1:{port}"]  # fmt: skip
        started.append(Group(folder / "server.log", server, folder))
        for seat in range(NODES):
            command = stock_node(seat, port) if kind == "stock" else resident_node(seat, port)
            started.append(Group(folder / f"node-{seat}.log", command, folder))
        if started[0].wait(WAIT) != 0:
            raise RuntimeError("\n".join(group.log.read_text()[-2000:] for group in started))
        return [event["seconds"] for event in rounds_done(folder / "runs")][1:]


def resident_node(seat: int, port: int) -> list[str]:
    """`synoptic join`."""
    return [*MAIN, "join", f"127.0.0.1:{port}", "--partition", f"{seat}/{NODES}", "--insecure", "--state", f"s{seat}"]


def stock_node(seat: int, port: int) -> list[str]:
    """Flower's own; its start of a process waits as little as its settings allow."""
    os.environ.setdefault("FLWR_SUPEREXEC_TASK_POLL_INTERVAL", "0.05")
    return ["flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{port}", "--port", str(free_port()),
            "--node-config", f'partition-id={seat} num-partitions={NODES} state="s{seat}"']  # fmt: skip
