"""What stacking gains: ten clients as one batched problem, against one after another, and whether `auto` finds it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.measure import Result, Times, interleaved, load_average, paired, rounded
from benchmarks.workload import CLIENTS, LORA, TRAIN, Job, Rounds, digits, job
from synoptic.experiment.compute import STACKS, choose
from synoptic.models.load import load_dual_encoder

SETTINGS = (
    ("", False, 32), ("_cached", True, 32), ("_batch16", False, 16), ("_batch16_cached", True, 16),
    ("_batch8", False, 8), ("_batch8_cached", True, 8),
)  # fmt: skip
"""Key, prefix cache, batch size. 32 is the default; a client with few examples has small batches."""

SLACK = 1.1
"""`auto` counts as the fastest within this factor of the best option."""


def measure(quick: bool) -> Result:
    """`stack_speedup` (nothing cached) and `stack_speedup_cached`, each side at its best thread count."""
    model, data = load_dual_encoder("tiny-clip"), digits(quick)
    result = Result()
    for suffix, cache, batch in SETTINGS:
        here = job(model, data, LORA, cache, TRAIN.model_copy(update={"batch_size": batch}))
        load = load_average()
        threads, stack = choose(here.bench, CLIENTS, "auto", "auto")
        times = interleaved(_options(here), repeats=1 if quick else 7)
        best = {size: _fastest(times, f"stack={size},") for size in (1, CLIENTS)}
        result.seconds[f"stack{suffix}"] = rounded(times)
        result.add(f"stack_speedup{suffix}", paired(times[best[1]], times[best[CLIENTS]]))
        fastest, picked = _fastest(times, ""), f"stack={stack}, threads={threads}"
        slower = _median(times[picked]) / _median(times[fastest])
        result.notes[f"stack_speedup{suffix}"] = {
            "what": f"seconds of a round one client after another over a stack of {CLIENTS}, prefix cache "
            f"{'on' if cache else 'off'}, batch {batch}, each at its best thread count", "one_after_another": best[1],
            "stacked": best[CLIENTS], "auto_picked": picked, "load_average_at_auto": load, "fastest": fastest,
            "auto_slower_than_fastest": round(slower, 3), "auto_within_10_percent": slower <= SLACK,
            "examples": len(data.train), "model": "tiny-clip, LoRA r=4 on q,k,v of the last two image blocks",
        }  # fmt: skip
    torch.set_num_threads(1)
    return result


def _options(here: Job) -> dict[str, Callable[[], Any]]:
    cores = os.cpu_count() or 1
    servers = {size: here.server(size) for size in sorted({min(size, CLIENTS) for size in STACKS})}
    return {
        f"stack={size}, threads={threads}": _at(threads, server)
        for threads in sorted({1, cores})
        for size, server in servers.items()
    }


def _at(threads: int, server: Rounds) -> Callable[[], Any]:
    def work() -> Any:
        torch.set_num_threads(threads)
        return server.first()

    return work


def _fastest(times: Times, prefix: str) -> str:
    return min((name for name in times if name.startswith(prefix)), key=lambda name: _median(times[name]))


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
