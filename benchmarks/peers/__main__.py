"""Run the same FedAvg job on other engines and write `benchmarks/results/peers.json`: `make bench-peers`.

Makes each peer's environment with pip when it is not there (minutes, about 1 GB each). `--quick` proves that it works.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from benchmarks.engine import FULL, PEERS, RESULTS
from benchmarks.measure import ROOT, Result, environment, load_average, paired, rounded
from benchmarks.peers.twin import CLIP, WORKLOAD
from synoptic.core.files import read_json, write_json

HERE = Path(__file__).resolve().parent
QUICK = RESULTS / "peers_quick.json"
WARM = 3
"""First rounds left out of the medians: they start workers and fill caches, and are reported apart."""

WHAT = (
    "seconds of a round as multiples of the bare loop's round (one process, one thread), which follows every round of "
    "every contender in the same process and must end with the same weights; one job for all: FedAvg, tiny-clip, LoRA "
    "r=4 on q,k,v of the last two image blocks, AdamW, batch 32"
)
CLOSE = 1e-4
DEADLINE = 1800
QUIET = {
    "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": str(ROOT),
    "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "RAY_USAGE_STATS_ENABLED": "0",
    "PFL_PYTORCH_DEVICE": "cpu",
}  # fmt: skip


def main() -> None:
    """Run every contender and write one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds on few examples; to peers_quick.json")
    quick = parser.parse_args().quick
    rounds, cores = (5, 1) if quick else (WARM + 20, os.cpu_count() or 1)
    record, whole = environment(), Result()
    with TemporaryDirectory(prefix="synoptic-peers-") as folder:
        place = _job(Path(folder), quick)
        for name, command, processes in _contenders(cores):
            print(f"{name} ...", end=" ", flush=True)
            begun = time.perf_counter()
            whole.merge(
                _measured(name, [*command, str(rounds), str(processes)], place, WARM if rounds > WARM + 4 else 1)
            )
            print(f"{whole.figures[name]:.2f} x the bare loop, {time.perf_counter() - begun:.0f} s", flush=True)
    content = _assembled(whole, record | {"load_average_after": load_average()})
    write_json(QUICK if quick else PEERS, content)
    if not quick and FULL.exists():
        write_json(FULL, read_json(FULL) | {"peers": content})


def _contenders(cores: int) -> list[tuple[str, list[str], int]]:
    """Name, command up to ``ROUNDS``, and its second argument (processes, or threads for Synoptic)."""
    flower, pfl = _python("flower"), _python("pfl")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(cores)]
    several = [("pfl_all_cores", [pfl, *torchrun, "-m", "benchmarks.peers.pfl.run"], cores)] if cores > 1 else []
    ours = [sys.executable, "-m", "benchmarks.peers.synoptic_run"]
    return [
        ("synoptic", ours, 0),
        ("synoptic_plain", ours, 1),
        ("pfl", [pfl, "-m", "benchmarks.peers.pfl.run"], 1),
        *several,
        ("flower", [flower, "-m", "benchmarks.peers.flower.run"], cores),
    ]


def _python(peer: str) -> str:
    """The interpreter of a peer's environment, made now if its requirements are newer."""
    folder, wanted = HERE / peer / ".venv", HERE / peer / "requirements.txt"
    python, stamp = folder / "bin" / "python", folder / ".ready"
    if not stamp.exists() or stamp.stat().st_mtime < wanted.stat().st_mtime:
        print(f"making the environment of {peer} ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--requirement", str(wanted)], check=True)
        stamp.touch()
    return str(python)


def _job(folder: Path, quick: bool) -> dict[str, str]:
    """Write the job for everybody; the environment variables that lead to it."""
    from benchmarks.peers.synoptic_run import QUICK as SMALL
    from benchmarks.workload import LORA, digits, job, save, tiny_clip
    from synoptic.models.load import load_dual_encoder

    here = job(load_dual_encoder("tiny-clip"), digits(quick), LORA, cache=False)
    save(here.plain(rounds=5 if quick else WARM + 20), folder / "job.safetensors")
    clip = folder / "clip"
    shutil.copytree(tiny_clip(), clip)
    names = {WORKLOAD: str(folder / "job.safetensors"), CLIP: str(clip), "FLWR_HOME": str(folder / "flwr")}
    return names | ({SMALL: "1"} if quick else {})


def _measured(name: str, command: list[str], place: Mapping[str, str], warm: int) -> Result:
    output = Path(place[WORKLOAD]).with_name(f"{name}.json")
    _run([*command, str(output)], {**os.environ, **QUIET, **place})
    report: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    if not report["farthest_weight"] < CLOSE:
        raise RuntimeError(f"{name} ends a round {report['farthest_weight']:.2g} away from the bare loop ({CLOSE:g})")
    result = Result(seconds={name: rounded({side: report[side] for side in ("peer", "bare")})})
    result.add(name, paired(report["peer"][warm:], report["bare"][warm:]))
    keep = ("processes", "settings", "start_up_seconds", "versions", "farthest_weight")
    first = round(report["peer"][0], 4)
    result.notes[name] = {**{key: report[key] for key in keep}, "first_round_seconds": first, "warm_rounds": warm}
    return result


def _run(command: list[str], variables: Mapping[str, str]) -> None:
    """Run one contender to its end; whatever it started and left behind is ended by its own id."""
    with subprocess.Popen(command, cwd=ROOT, env=dict(variables), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, start_new_session=True) as process:  # fmt: skip
        try:
            text, _ = process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            text = f"no result within {DEADLINE} s"
        finally:
            _end(_family(process.pid))
    if process.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} ended with {process.returncode}:\n{text[-3000:]}")


def _family(pid: int) -> list[psutil.Process]:
    """The process and all that share its session, orphans included."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == pid:
                found.append(process)
        except (OSError, psutil.Error):
            continue
    if psutil.pid_exists(pid):
        found += psutil.Process(pid).children(recursive=True)
    return found


def _end(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.terminate()
        except psutil.Error:
            continue
    for process in psutil.wait_procs(processes, timeout=10)[1]:
        process.kill()


def _assembled(whole: Result, record: dict[str, Any]) -> dict[str, Any]:
    parts = {"repeats": whole.repeats, "seconds": whole.seconds, "notes": whole.notes, "environment": record}
    return {"what": WHAT, **whole.figures, **parts}


if __name__ == "__main__":
    main()
