"""GRPO on a generative model, side by side: `python -m benchmarks.grpo` writes `benchmarks/results/grpo.json`.

Synoptic's step against TRL's `GRPOTrainer` and against a plain loop on transformers and peft: the same model, prompts,
reward, group, tokens, batch and LoRA. Each side is a process of its own, TRL's with an environment of its own
(minutes and about 1 GB on the first call). They take turns, a step each, so that a busy moment of the machine hits all.
`--quick` proves that it runs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.engine import RESULTS
from benchmarks.measure import ROOT, Result, environment, load_average, paired, rounded
from benchmarks.peers.__main__ import QUIET, _end, _family, _python
from benchmarks.peers.trl.job import MARK, Job
from synoptic.core.files import write_json
from synoptic.core.seeds import numpy_generator

FULL, SHORT = RESULTS / "grpo.json", RESULTS / "grpo_quick.json"
WARM = 2
"""First steps left out of the medians: they fill caches and start the allocator; told in the raw seconds."""

DEADLINE = 900
TARGETS = {"tiny_vlm_over_trl": ">= 2", "wide_over_trl": ">= 2", "wide_memory_of_trl": "< 1"}
NOTES = {
    "figures": "CASE_over_SIDE is Synoptic's tokens per second over that side's, median over steps of neighbours in "
    "time; tokens are those up to and with the end token, seconds those of drawing, judging and one update. "
    "CASE_processor_over_SIDE is the same by processor time, which other work on the machine moves less. "
    "CASE_memory_of_SIDE is the growth of resident memory from a loaded model to the peak, over that side's",
    "tiny_vlm": "the embedded tiny-vlm, questions of the world, LoRA r=4 on q and v of the last two of four blocks",
    "wide": "a LLaVA with random weights, width 256, six blocks, a vocabulary of 32,000, LoRA r=4 on q and v of all "
    "blocks, so that nothing of the decoder is frozen below the adapter",
    "trl": "no gradient checkpointing, loss_type=grpo, one generation for one update, no logging; vLLM needs a GPU",
    "not_measured": "GPUs, vLLM, several updates of one rollout",
}


def main() -> None:
    """Run both cases and write one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three steps of small batches; to grpo_quick.json")
    parser.add_argument("--only", choices=CASES, action="append", help="one of the cases")
    arguments = parser.parse_args()
    record, whole, begun = environment(("torch", "transformers", "peft")), Result(notes=dict(NOTES)), time.time()
    python = {"synoptic": sys.executable, "plain": sys.executable, "trl": _python("trl")}
    modules = {"synoptic": "ours", "plain": "plain", "trl": "run"}
    sides = {name: [python[name], "-m", f"benchmarks.peers.trl.{module}"] for name, module in modules.items()}
    for name in arguments.only or CASES:
        with TemporaryDirectory(prefix="synoptic-grpo-") as folder:
            job = CASES[name](Path(folder), arguments.quick)
            whole.merge(measured(name, job, Path(folder), sides, 1 if arguments.quick else WARM))
    record |= {"seconds": round(time.time() - begun, 1), "load_average_after": load_average()}
    parts = {"repeats": whole.repeats, "seconds": whole.seconds, "notes": whole.notes, "targets": TARGETS}
    write_json(SHORT if arguments.quick else FULL, {**whole.figures, **parts, "environment": record})
    for key, value in whole.figures.items():
        print(f"{key:36} {value:10.3f}   {TARGETS.get(key, '')}")


def measured(name: str, job: Job, folder: Path, sides: Mapping[str, Sequence[str]], warm: int) -> Result:
    """All sides' steps in turn, and the figures of one case."""
    runs = {side: Told([*command, str(folder)], folder / f"{side}.log") for side, command in sides.items()}
    try:
        ready = {side: run.hear() for side, run in runs.items()}
        steps: dict[str, list[dict[str, float]]] = {side: [] for side in runs}
        for t in range(job.steps):
            for side, run in runs.items():
                run.go()
                steps[side].append(run.hear())
            print(f"{name}, step {t}: " + ", ".join(f"{s} {steps[s][-1]['seconds']:.2f} s" for s in steps), flush=True)
        last = {side: run.hear() for side, run in runs.items()}
    finally:
        for run in runs.values():
            run.end()
    _agree(last)
    return _figures(
        name, job, steps, {side: (ready[side]["resident"], last[side]["peak"]) for side in runs}, last, warm
    )


def _agree(last: Mapping[str, Mapping[str, Any]]) -> None:
    """All sides must ask the same of the same model, or timing them would be meaningless."""
    said = {side: found["greedy"] for side, found in last.items()}
    if any(texts != said["synoptic"] for texts in said.values()):
        raise RuntimeError(f"the untouched model answers differently by side: {said}")


def _figures(
    name: str, job: Job, steps: Mapping[str, list[dict[str, float]]], memory: Mapping[str, tuple[int, int]],
    last: Mapping[str, Mapping[str, Any]], warm: int,
) -> Result:  # fmt: skip
    result = Result()
    speed, processor = ({side: [one["tokens"] / one[clock] for one in some[warm:]] for side, some in steps.items()}
                        for clock in ("seconds", "processor_seconds"))  # fmt: skip
    growth = {side: peak - resident for side, (resident, peak) in memory.items()}
    for other in (side for side in steps if side != "synoptic"):
        result.add(f"{name}_over_{other}", paired(speed["synoptic"], speed[other]))
        result.add(f"{name}_processor_over_{other}", paired(processor["synoptic"], processor[other]))
        result.add(f"{name}_memory_of_{other}", [growth["synoptic"] / growth[other]])
    result.seconds[name] = rounded({side: [one["seconds"] for one in some] for side, some in steps.items()})
    result.notes[f"{name}_sizes"] = {
        "batch": job.batch, "group": job.group, "tokens": job.tokens, "steps": job.steps, "warm": warm,
        "tokens_per_second": {side: round(float(np.median(values)), 1) for side, values in speed.items()},
        "tokens_drawn": {side: [one["tokens"] for one in some] for side, some in steps.items()},
        "memory_growth_MiB": {side: round(value / 2**20, 1) for side, value in growth.items()},
        "versions": {side: found["versions"] for side, found in last.items()},
    }  # fmt: skip
    return result


class Told:
    """A side in a process of its own, which takes a step when it is told to."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("w", encoding="utf-8") as errors:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **QUIET, "TRL_EXPERIMENTAL_SILENCE": "1"}, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True,
            )  # fmt: skip

    def go(self) -> None:
        """One step."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """What it says next.

        Raises:
            RuntimeError: it ended, or said nothing for too long.
        """
        assert self._process.stdout is not None
        late = threading.Timer(DEADLINE, self._process.kill)
        late.start()
        try:
            for line in self._process.stdout:
                if line.startswith(MARK):
                    found: dict[str, Any] = json.loads(line.removeprefix(MARK))
                    return found
        finally:
            late.cancel()
        raise RuntimeError(f"a side ended or said nothing for {DEADLINE} s:\n{self._log.read_text()[-3000:]}")

    def end(self) -> None:
        """Whatever it started goes with it."""
        _end(_family(self._process.pid))
        self._process.wait(timeout=30)


def tiny_vlm(folder: Path, quick: bool) -> Job:
    """The embedded checkpoint and the world's questions."""
    from synoptic.data.federated import build
    from synoptic.data.spec import DataSpec
    from synoptic.models.load import base_folder

    batch, steps = (4, 3) if quick else (16, WARM + 12)
    data = build(DataSpec.model_validate({"source": "questions", "clients": 1,
                                          "questions": {"train": batch * steps, "test": 1}}), 0)  # fmt: skip
    shutil.copytree(base_folder("tiny-vlm"), folder, dirs_exist_ok=True)
    words = data.train.words
    assert words is not None
    job = Job(words.questions[: batch * steps], batch, 8, 16, (2, 3), 4)
    job.write(folder, np.asarray(data.train.images.load(np.arange(batch * steps))))
    return job


def wide(folder: Path, quick: bool) -> Job:
    """A larger random model with a vocabulary of usual size, which makes whole logits costly."""
    import torch
    import transformers

    from synoptic.models.load import base_folder

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    batch, steps, tokens = (2, 3, 8) if quick else (4, WARM + 6, 64)
    shutil.copytree(base_folder("tiny-vlm"), folder, dirs_exist_ok=True)
    config: Any = transformers.AutoConfig.from_pretrained(folder)
    text = {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 6, "num_attention_heads": 8,
            "num_key_value_heads": 4, "vocab_size": 32_000, "max_position_embeddings": 256}  # fmt: skip
    for key, value in text.items():
        setattr(config.text_config, key, value)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    rng = numpy_generator(0, "pictures")
    questions = tuple(f"name the object in picture {place % 7}." for place in range(batch * steps))
    job = Job(questions, batch, 8, tokens, tuple(range(6)), 6)
    job.write(folder, rng.integers(0, 256, (batch * steps, 32, 32, 3), dtype=np.uint8))
    return job


CASES = {"tiny_vlm": tiny_vlm, "wide": wide}


if __name__ == "__main__":
    main()
