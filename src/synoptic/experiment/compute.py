"""Threads and stack size: measured on the work at hand before the first round, then fixed for the whole run.

Both change float results in the last digits, so a run records its choice and a resumed run takes it over.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from synoptic.adapters.stack import expand
from synoptic.federation.bench import Bench
from synoptic.learning.batches import Steps
from synoptic.learning.fit import fit

STACKS = (1, 5, 10, 20)
PATIENCE = 4.0
"""Seconds that measuring may take."""

LOOK = 0.2
"""Seconds of looking whether other processes are at work."""

MARGIN = 0.93
"""A larger stack or more threads must beat the smaller choice by this factor, or noise would decide."""


def choose(bench: Bench, cohort: int, threads: int | Literal["auto"], stack: int | Literal["auto"]) -> tuple[int, int]:
    """Thread count and stack size.

    Args:
        bench: the workbench; a few training steps are taken on throw-away adapters.
        cohort: how many clients train in a round.
        threads: a number, or ``auto`` to try one and all idle cores.
        stack: a number, or ``auto`` to try a few up to the cohort.

    Returns:
        What was fastest per client step here and now.
    """
    thread_options = [threads] if threads != "auto" else _thread_options()
    stack_options = [stack] if stack != "auto" else sorted({max(1, min(size, cohort)) for size in STACKS})
    options = [(t, s) for t in thread_options for s in stack_options]
    if len(options) == 1 or cohort == 0:
        return options[0]
    before = torch.get_num_threads()
    try:
        return _fastest(bench, options)
    finally:
        torch.set_num_threads(before)


def _thread_options() -> list[int]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # On a machine that is busy already, more threads than idle cores wait for each other (2-60 times slower).
    return [1, cores] if cores > 1 and busy_cores() < 0.5 else [1]


def busy_cores() -> float:
    """Cores that others use right now. The load average would count what this process did a moment ago."""
    before = _jiffies()
    if before is None:
        return os.getloadavg()[0]
    time.sleep(LOOK)
    after = _jiffies()
    return 0.0 if after is None else (after - before) / os.sysconf("SC_CLK_TCK") / LOOK


def _jiffies() -> int | None:
    """Clock ticks that all cores have spent at work, from Linux's /proc/stat; None elsewhere."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    except OSError:
        return None
    user, nice, system, _idle, _wait, interrupts, soft = (int(field) for field in fields[1:8])
    return user + nice + system + interrupts + soft


def _fastest(bench: Bench, options: list[tuple[int, int]]) -> tuple[int, int]:
    started = time.perf_counter()
    best, best_time = options[0], float("inf")
    for threads, stack in options:
        if time.perf_counter() - started > PATIENCE:
            break
        torch.set_num_threads(threads)
        seconds = min(_step_seconds(bench, stack) for _ in range(3))
        if seconds < best_time * MARGIN:
            best, best_time = (threads, stack), seconds
    return best


def _step_seconds(bench: Bench, stack: int) -> float:
    """Seconds of one training step, per client."""
    clients = [client % len(bench.data.clients) for client in range(stack)]
    plans: list[Steps] = [[_rows(bench, client)] for client in clients]
    adapters = expand(bench.new_adapter(), stack)
    loss = bench.problem.loss()
    started = time.perf_counter()
    fit(adapters, plans, loss, bench.train, bench.train.lr)
    return (time.perf_counter() - started) / stack


def _rows(bench: Bench, client: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    positions = bench.data.clients.train(client)
    return np.resize(positions, bench.train.batch_size)
