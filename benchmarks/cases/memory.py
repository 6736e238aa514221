"""Whether memory follows the cohort and not the population: 10, 1,000 and 100,000 clients, twenty in a round."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from benchmarks.measure import ROOT, Result

POPULATIONS = (10, 1_000, 100_000)
QUICK = (10, 1_000)
ROUNDS = 5


def measure(quick: bool) -> Result:
    """`rss_growth`: peak resident memory beyond the index, largest population over smallest, minus one."""
    populations = QUICK if quick else POPULATIONS
    peaks = {clients: [_probe(clients) for _ in range(1 if quick else 3)] for clients in populations}
    result = Result()
    smallest, largest = populations[0], populations[-1]
    growth = [
        max(_beyond(many), _beyond(some)) / _beyond(few) - 1
        for few, some, many in zip(peaks[smallest], peaks[populations[1]], peaks[largest], strict=True)
    ]
    result.add("rss_growth", growth)
    result.add("rss_growth_bytes", [_beyond(many) - _beyond(few)
                                    for few, many in zip(peaks[smallest], peaks[largest], strict=True)])  # fmt: skip
    result.notes["rss_growth"] = {
        "what": f"peak resident memory less the index's own bytes, the most of {populations} clients over {smallest} "
        f"clients, minus one; {ROUNDS} rounds of fedavg with 20 clients (all 10 of 10), each with ten examples; prefix "
        "cache on; one process for each population. The interpreter and its libraries are a part of the peak, so "
        "rss_growth_bytes tells the growth itself; the cache holds what was seen so far, up to its budget",
        "index": "labels, image numbers and the lists of every client's rows; the pictures are 1,012 distinct digits",
        "processes": {str(clients): runs for clients, runs in peaks.items()},
    }  # fmt: skip
    return result


def _beyond(probe: dict[str, Any]) -> float:
    return float(probe["peak_rss"] - probe["index_bytes"])


def _probe(clients: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.cases.memory_probe", str(clients), str(ROUNDS)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    if run.returncode:
        raise RuntimeError(f"the probe with {clients} clients failed:\n{run.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found
