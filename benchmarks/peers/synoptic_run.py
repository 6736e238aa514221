"""The same job on Synoptic, clocked the same way: `python -m benchmarks.peers.synoptic_run ROUNDS THREADS OUTPUT`.

THREADS 0 means the defaults of a run: prefix cache, threads and stack as measured. Any other number means plain: that
many threads, nothing cached, one client after another.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import torch

from benchmarks.peers.twin import CLIP, Twin
from benchmarks.workload import CLIENTS, LORA, bare_names, digits, job
from synoptic.experiment.compute import choose
from synoptic.models.load import load_dual_encoder

QUICK = "SYNOPTIC_BENCH_QUICK"


def main(rounds: int, threads: int, output: Path) -> None:
    """Run and write the seconds."""
    started = time.perf_counter()
    cache = threads == 0
    here = job(load_dual_encoder(os.environ[CLIP]), digits(QUICK in os.environ), LORA, cache)
    threads, stack = choose(here.bench, CLIENTS, threads or "auto", 1 if threads else "auto")
    twin, server = Twin(), here.server(stack)
    ready = time.perf_counter() - started
    for t in range(rounds):
        torch.set_num_threads(threads)
        twin.begin()
        shared = server.round(t) if t else server.first()
        twin.finished(bare_names(shared))
    settings = f"threads={threads}, stack={stack}, prefix cache {'on' if cache else 'off'}"
    notes = {"processes": 1, "settings": settings, "start_up_seconds": round(ready, 3)}
    twin.write(output, ["torch", "transformers", "tensordict", "numpy"], notes)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
