"""Runs that were never run: groups with given measures, and claims files of half a second a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synoptic.experiment.comparison.groups import Group
from synoptic.experiment.folder import RunFolder
from synoptic.experiment.records import RunRecord

SCORE = "shared/base/accuracy/mean"


def record(seed: int, metrics: Mapping[str, Any], bytes_up: float = 100.0) -> RunRecord:
    """A finished run of a seed."""
    summary = {"metrics": dict(metrics), "bytes": {"up": bytes_up, "down": bytes_up}, "rounds": 1,
               "seconds": {"total": 1.0}, "work": {"steps": 7}}  # fmt: skip
    return RunRecord(RunFolder(Path(f"runs/{seed}")), {"method": {"name": "m"}, "seed": seed}, "finished", summary)


def group(label: str, values: Sequence[float], condition: str = "", metric: str = SCORE, **more: Any) -> Group:
    """Runs of the seeds 0, 1, ... with these values of one metric."""
    return Group(label, tuple(record(seed, {metric: value}, **more) for seed, value in enumerate(values)), condition)


SMALL = """\
title: Small claims
about: Words before the table.
suites:
  pair:
    settings:
      {data.train_limit: 60, data.test_limit: 40, data.clients: 3, train.batch_size: 8, compute.threads: 1,
       federation.stack: 3, rounds: 1, evaluate.every: 0}
    methods: [zeroshot, fedavg]
    seeds: 4
quick: {data.clients: 2, data.train_limit: 40}
claims:
  bytes-flow:
    statement: FedAvg sends something.
    source: ours
    suite: pair
    relation: "mean(fedavg: bytes/total) > 0"
  zero-is-zero:
    statement: The untouched base is what it was before.
    source: {paper: "Somebody 2020 (arXiv 1234.56789)", where: table 1, status: confirmed}
    suite: pair
    relation: "mean(zeroshot: shared/base/accuracy) - mean(zeroshot: before/shared/base/accuracy) == 0 within 0"
    paper: {value: 1.5, unit: points, where: table 1}
    note: A remark.
  gains-a-lot:
    statement: One round of FedAvg gains more than there is to gain.
    source: ours
    suite: pair
    relation: "mean(fedavg: shared/base/accuracy) - mean(zeroshot: shared/base/accuracy) > 1"
"""


def write(folder: Path, text: str = SMALL, name: str = "small") -> Path:
    """A claims file below ``folder``/claims."""
    path = folder / "claims" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
