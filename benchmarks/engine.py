"""Measure the engine and write `benchmarks/results/engine.json`: `make bench`, or `python -m benchmarks.engine`.

`--quick` runs tiny sizes to prove that everything works; its figures mean nothing and go to another file.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

# Before torch is imported: it reads this once. Every case sets its own thread count afterwards.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from benchmarks.cases import caches, feddtl, memory, overhead, stack, vitb
from benchmarks.measure import Result, environment, load_average
from synoptic.core.files import read_json, write_json

RESULTS = Path(__file__).resolve().parent / "results"
FULL, QUICK, PEERS = RESULTS / "engine.json", RESULTS / "engine_quick.json", RESULTS / "peers.json"

# `stack` comes first: `auto` looks at the load average, which the other cases raise.
CASES = {"stack": stack, "overhead": overhead, "caches": caches, "vitb": vitb, "feddtl": feddtl,
         "memory": memory}  # fmt: skip

TARGETS = {
    "overhead_ratio": "<= 1.05", "prefix_cache_speedup": ">= 1.8", "feature_cache_speedup": ">= 50",
    "stack_speedup": ">= 1.4", "vitb_speedup": ">= 8", "feddtl_speedup": ">= 2.5", "rss_growth": "< 0.1",
}  # fmt: skip

NOT_MEASURED = [
    "GPUs and more than one machine",
    "pretrained weights: the larger models have random ones, which changes losses but no times",
    "reading and decoding pictures: every side gets pixels, or fills its cache, before the clock starts",
    "text adapters and generative models",
    "evaluation, checkpoints and events, which a run adds to every round",
]


def main() -> None:
    """Run the chosen cases and write one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to prove that it runs; to engine_quick.json")
    parser.add_argument("--only", choices=CASES, action="append", help="some cases; the others' figures are kept")
    arguments = parser.parse_args()
    where = QUICK if arguments.quick else FULL
    record, whole, started = environment(), Result(), time.perf_counter()
    for name in arguments.only or CASES:
        begun = time.perf_counter()
        print(f"{name} ...", end=" ", flush=True)
        whole.merge(CASES[name].measure(arguments.quick))
        print(f"{time.perf_counter() - begun:.0f} s", flush=True)
    record |= {"seconds": round(time.perf_counter() - started, 1), "load_average_after": load_average()}
    write_json(where, _assembled(whole, record, where if arguments.only else None))
    for key, value in whole.figures.items():
        print(f"{key:45} {value:10.3f}   {TARGETS.get(key, '')}")
    print(where.relative_to(Path.cwd()) if where.is_relative_to(Path.cwd()) else where)


def _assembled(whole: Result, record: dict[str, Any], before: Path | None) -> dict[str, Any]:
    """The file's content; with ``before``, the cases that were not run keep their figures and their environment."""
    old = read_json(before) if before is not None and before.exists() else {}
    runs = {**old.get("environment_of", {}), **dict.fromkeys(whole.figures, record["date"])}
    environments = {**old.get("environments", {}), record["date"]: record}
    kept: dict[str, Any] = {key: value for key, value in old.items() if key in old.get("repeats", {})}
    content = kept | whole.figures
    if PEERS.exists():
        content["peers"] = read_json(PEERS)
    content["targets"] = TARGETS
    for part in ("repeats", "seconds", "notes"):
        content[part] = {**old.get(part, {}), **getattr(whole, part)}
    content["environment_of"] = runs
    content["environments"] = {date: known for date, known in environments.items() if date in runs.values()}
    content["not_measured"] = NOT_MEASURED
    return content


if __name__ == "__main__":
    main()
