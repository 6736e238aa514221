"""The bare loop at a peer's side: after every round of the peer it does the same round, timed and compared.

So the two are interleaved in one process on one machine state, and every round proves that both train the same thing.
Runs in the peer's environment; nothing of Synoptic is imported.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.bare import Loss, Workload, fedavg_round, load_clip, lora_loss, read_workload, wear

WORKLOAD, CLIP = "SYNOPTIC_BENCH_WORKLOAD", "SYNOPTIC_BENCH_CLIP"
"""Environment variables that tell where the job's file and the model's folder lie."""


@cache
def tools() -> tuple[Workload, Any, dict[str, nn.Parameter], Loss]:
    """Job, model, trainable parameters and loss, built once in a process."""
    torch.set_num_threads(1)
    job = read_workload(Path(os.environ[WORKLOAD]))
    model = load_clip(os.environ[CLIP])
    parameters = wear(model, job.start)
    return job, model, parameters, lora_loss(model, job)


class Twin:
    """Clocks a peer's rounds and repeats each of them by the bare loop."""

    def __init__(self) -> None:
        self.job, self.model, self.parameters, self._loss = tools()
        self._shared: Mapping[str, Tensor] = self.job.start
        self._peer: list[float] = []
        self._bare: list[float] = []
        self._apart: list[float] = []
        self._clock = time.perf_counter()

    def begin(self) -> None:
        """The peer's next round starts now."""
        self._clock = time.perf_counter()

    def finished(self, shared: Mapping[str, Tensor]) -> None:
        """The peer's round is over and left ``shared``; the bare loop follows from where the peer began."""
        self._peer.append(time.perf_counter() - self._clock)
        torch.set_num_threads(1)
        begun = time.perf_counter()
        ours = fedavg_round(self.parameters, self._loss, self._shared, self.job, len(self._bare))
        self._bare.append(time.perf_counter() - begun)
        # Not Python's max, which loses a NaN.
        self._apart.append(float(torch.stack([(ours[name] - shared[name]).abs().max() for name in ours]).max()))
        self._shared = {name: tensor.clone() for name, tensor in shared.items()}

    def write(self, path: Path, packages: list[str], notes: dict[str, Any]) -> None:
        """Raw seconds of both sides, by round."""
        report = {"peer": self._peer, "bare": self._bare, "farthest_weight": float(torch.tensor(self._apart).max()),
                  "versions": {name: _version(name) for name in packages}, **notes}  # fmt: skip
        path.write_text(json.dumps(report), encoding="utf-8")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
