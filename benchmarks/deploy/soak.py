"""Many rounds with `synoptic serve` and `synoptic join` over TLS: does memory grow, and what goes over the wire."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from benchmarks.deploy.processes import MAIN, Group, free_port, groups, rounds_done
from synoptic.core.files import read_json
from synoptic.deploy.keys import make_keys

ROUNDS, NODES = 200, 5
SETTLED = 10
"""Rounds after which memory should stand still."""

WINDOW = 5
"""Rounds over which a median of memory is taken."""

SETTINGS = (
    "adapter.vision.lora.rank=70", "adapter.vision.lora.layers=4", "adapter.vision.lora.targets=[q,k,v,o,fc1,fc2]",
    "data.train_limit=60", "data.test_limit=40", "train.batch_size=16", "train.epochs=1", "compute.threads=1",
    "compute.cache=false", "federation.stack=1", "output=runs",
)  # fmt: skip
"""An adapter of 2 MB, and hardly any work."""

LOOPBACK = "lo"
Sample = dict[str, float]


def soak(rounds: int = ROUNDS, nodes: int = NODES, patience: float = 3600.0) -> dict[str, Any]:
    """Run it and look after every round.

    Args:
        rounds, nodes: how many.
        patience: seconds without a finished round after which something is wrong.

    Raises:
        RuntimeError: a process ended badly, or nothing happened for too long.
    """
    with TemporaryDirectory() as place, groups() as started:
        folder = Path(place)
        started += _begin(folder, rounds, nodes)
        samples = _watched(started, folder, rounds, patience)
        if bad := [group for group in started if group.wait(patience) != 0]:
            raise RuntimeError(bad[0].log.read_text()[-2000:])
        return figures(samples, rounds_done(folder / "runs"), _summary(folder))


def _begin(folder: Path, rounds: int, nodes: int) -> list[Group]:
    names = [f"site-{seat}" for seat in range(nodes)]
    make_keys(folder / "keys", ["localhost"], names)
    port = free_port()
    server = [*MAIN, "serve", "fedavg", f"data.clients={nodes}", f"rounds={rounds}", f"evaluate.every={rounds}",
              *SETTINGS, "--listen", f"127.0.0.1:{port}", "--tls", "keys/server.crt", "keys/server.key",
              "--clients", "keys/clients"]  # fmt: skip
    started = [Group(folder / "server.log", server, folder)]
    for name in names:
        seat = names.index(name)
        node = [*MAIN, "join", f"localhost:{port}", "--partition", f"{seat}/{nodes}", "--key", f"keys/sites/{name}.key",
                "--ca", "keys/ca.crt", "--state", name]  # fmt: skip
        started.append(Group(folder / f"{name}.log", node, folder))
    return started


def _watched(started: Sequence[Group], folder: Path, rounds: int, patience: float) -> list[Sample]:
    """For each finished round: resident memory of every process in bytes, and bytes over the loopback so far."""
    watched = {group.log.stem: psutil.Process(group.pid) for group in started}
    samples: list[Sample] = []
    last = time.monotonic()
    while len(samples) < rounds:
        if time.monotonic() - last > patience or any(group.over for group in started):
            raise RuntimeError("\n".join(group.log.read_text()[-500:] for group in started))
        if len(rounds_done(folder / "runs")) > len(samples):
            sample = {name: float(process.memory_info().rss) for name, process in watched.items()}
            samples += [{**sample, "wire": _wire()}] * (len(rounds_done(folder / "runs")) - len(samples))
            last = time.monotonic()
        time.sleep(0.02)
    return samples[:rounds]


def _wire() -> float:
    return float(psutil.net_io_counters(pernic=True)[LOOPBACK].bytes_sent)


def _summary(folder: Path) -> dict[str, Any]:
    (path,) = (folder / "runs").glob("*/summary.json")
    return dict(read_json(path))


def figures(
    samples: Sequence[Sample], events: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]
) -> dict[str, Any]:
    """Growth of memory from the settled round to the end, seconds per round, bytes against the ledger.

    Args:
        samples: see `_watched`.
        events: of the rounds.
        summary: of the run.
    """
    settled = min(SETTLED, max(1, len(samples) - 2 * WINDOW))
    growth = {}
    for name in samples[0].keys() - {"wire"}:
        begin = statistics.median(sample[name] for sample in samples[settled : settled + WINDOW])
        end = statistics.median(sample[name] for sample in samples[-WINDOW:])
        growth[name] = {"megabytes": round(begin / 1e6, 1), "growth": round(end / begin - 1, 4)}
    told = sum(event["bytes_up"] + event["bytes_down"] for event in events[1:])
    seconds = sorted(event["seconds"] for event in events)
    return {
        "rounds": len(samples), "nodes": len(growth) - 1, "settled_after": settled,
        "adapter_bytes": round(events[0]["bytes_down"] / events[0]["clients"]),
        "memory": dict(sorted(growth.items())),
        "seconds_per_round": {"median": round(statistics.median(seconds), 3),
                              "p95": round(seconds[int(0.95 * (len(seconds) - 1))], 3)},
        "ledger_bytes_per_round": round(told / max(1, len(events) - 1)),
        "wire_bytes_per_round": round((samples[-1]["wire"] - samples[0]["wire"]) / max(1, len(samples) - 1)),
        "final_hash": summary["final_hash"],
    }  # fmt: skip
