"""The job that every side of the GRPO comparison does, and how a side is told to take its next step.

Imports nothing of Synoptic, nor of TRL: it is used in both environments.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

MARK = "@job "
"""Begins the lines that a side says to its parent; libraries print others."""


@dataclass(frozen=True)
class Job:
    """Prompts and settings.

    Attributes:
        questions: one for each picture.
        batch: prompts in a step (B).
        group: answers to each (G).
        tokens: longest answer (T).
        layers: indices of the decoder's blocks that have LoRA on their query and value projections.
        rank: of it.
        lr: so small that the policy, and with it the length of its answers, stays the same throughout.
    """

    questions: tuple[str, ...]
    batch: int
    group: int
    tokens: int
    layers: tuple[int, ...]
    blocks: int
    rank: int = 4
    temperature: float = 1.0
    beta: float = 0.04
    clip: float = 0.2
    lr: float = 1e-6
    clip_norm: float = 1.0

    @property
    def steps(self) -> int:
        """Every prompt is asked once."""
        return len(self.questions) // self.batch

    @property
    def target(self) -> str:
        """The adapted weights, as a pattern of PEFT."""
        layers = "|".join(str(layer) for layer in self.layers)
        return rf".*language_model\.layers\.({layers})\.self_attn\.(q|v)_proj"

    def write(self, folder: Path, pictures: np.ndarray) -> None:
        """To a folder that holds the model too."""
        np.save(folder / "pictures.npy", pictures)
        (folder / "job.json").write_text(json.dumps(asdict(self)), encoding="utf-8")


def read(folder: Path) -> tuple[Job, np.ndarray]:
    """What `Job.write` wrote: the job and its pictures, uint8 ``[n, H, W, 3]``."""
    content = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    lists = {name: tuple(value) for name, value in content.items() if isinstance(value, list)}
    return Job(**{**content, **lists}), np.load(folder / "pictures.npy")


def reward(texts: Sequence[str]) -> list[float]:
    """How many different letters an answer has, out of twenty: cheap, and hardly ever the same for a whole group."""
    return [len(set(text)) / 20 for text in texts]


class Side:
    """One side's end of the line to the parent: waits to be told, clocks a step, counts tokens."""

    def __init__(self) -> None:
        self.tokens = 0
        self._begun = (0.0, 0.0)

    def ready(self) -> None:
        """The model is loaded; the first step may come."""
        _say(resident=_status("VmRSS"))

    def wait(self) -> None:
        """Until the parent gives the word."""
        if not sys.stdin.readline():
            sys.exit("the parent has gone")
        self.tokens = 0
        self._begun = time.perf_counter(), time.process_time()

    def done(self) -> None:
        """A step is over."""
        wall, cpu = time.perf_counter() - self._begun[0], time.process_time() - self._begun[1]
        _say(seconds=wall, processor_seconds=cpu, tokens=self.tokens)

    def finish(self, greedy: Sequence[str], packages: Sequence[str]) -> None:
        """The most memory that the process ever held, and what shows that all sides ask the same of the same model."""
        _say(peak=_status("VmHWM"), greedy=list(greedy), versions={name: _version(name) for name in packages})

    def run(self, steps: int, step: Callable[[int], int]) -> None:
        """All steps; each returns the tokens that it has drawn."""
        self.ready()
        for t in range(steps):
            self.wait()
            self.tokens = step(t)
            self.done()


def _say(**what: Any) -> None:
    print(MARK + json.dumps(what), flush=True)


def _status(key: str) -> int:
    """Bytes by ``/proc``; not ``ru_maxrss``, which Linux carries over from the parent."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) * 1024


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
