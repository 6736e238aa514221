"""Taking times side by side: interleaving, medians, and a record of where and when."""

from __future__ import annotations

import gc
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("torch", "transformers", "tensordict", "peft", "numpy")
Times = dict[str, list[float]]


@dataclass
class Result:
    """What one case found.

    Attributes:
        figures: medians by key.
        repeats: the raw values behind each figure.
        seconds: raw seconds of every contender, by case.
        notes: what a reader must know to judge the figures; plain JSON values.
    """

    figures: dict[str, float] = field(default_factory=dict)
    repeats: Times = field(default_factory=dict)
    seconds: dict[str, Times] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    def add(self, key: str, values: Sequence[float]) -> None:
        """A figure from its repeats."""
        self.repeats[key] = [float(f"{value:.4g}") for value in values]
        self.figures[key] = float(f"{statistics.median(values):.4g}")

    def merge(self, other: Result) -> None:
        """Take over everything from another case."""
        self.figures |= other.figures
        self.repeats |= other.repeats
        self.seconds |= other.seconds
        self.notes |= other.notes


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call; rubbish is collected before, not during."""
    gc.collect()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def interleaved(contenders: Mapping[str, Callable[[], object]], repeats: int, warmup: int = 1) -> Times:
    """Seconds of every contender, taken in turn (A B C A B C ...), so that a busy moment of the machine hits all.

    Args:
        contenders: name -> one sample of work.
        repeats: timed samples of each.
        warmup: untimed samples of each before that.
    """
    for _ in range(warmup):
        for work in contenders.values():
            work()
    times: Times = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, work in contenders.items():
            times[name].append(timed(work))
    return times


def paired(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Ratios of neighbours in time, whose median drifts less with the machine's load than a ratio of medians."""
    return [a / b for a, b in zip(above, below, strict=True)]


def rounded(times: Mapping[str, Sequence[float]]) -> Times:
    """Four digits, which is more than these clocks deserve."""
    return {name: [float(f"{value:.4g}") for value in values] for name, values in times.items()}


def load_average() -> float | None:
    """Running processes over the last minute, where the system tells."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def environment(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Machine, versions, revision and command; the caller adds the load average after the work."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python -m", _module(), *_anywhere(sys.argv[1:])]),
        "revision": _git("rev-parse", "HEAD"),
        "uncommitted_changes_in_src": bool(_git("status", "--porcelain", "--", "src")),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in packages},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_average_before": load_average(),
    }


def _module() -> str:
    spec = sys.modules["__main__"].__spec__
    return spec.name.removesuffix(".__main__") if spec is not None else Path(sys.argv[0]).name


def _anywhere(words: Sequence[str]) -> list[str]:
    """A command's words without where it wrote: that is a path of one machine."""
    kept = list(words)
    if "--output" in kept:
        place = kept.index("--output")
        del kept[place : place + 2]
    return [word for word in kept if not word.startswith("--output=")]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(*words: str) -> str | None:
    try:
        run = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
