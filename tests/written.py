"""Run folders written by hand, so that a report can be tried on whatever numbers and names a run may have."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synoptic.core.files import write_json, write_text
from synoptic.experiment.recipe import load_recipe
from synoptic.experiment.report.gather import gather
from synoptic.experiment.report.parts import Grid
from synoptic.experiment.report.scene import Scene
from synoptic.experiment.report.scenes import make_scenes

SECONDS = {"total": 3.0, "train": 2.0, "evaluate": 0.9, "communicate": 0.1}
ENVIRONMENT = {"python": "3.11", "threads": 1, "packages": {"synoptic": "0.1.0", "torch": "2.13"}}
KINDS = {"train.adapter": {"up": 900_000, "down": 800_000}, "train.loss": {"up": 8, "down": 0},
         "train.examples": {"up": 8, "down": 0}}  # fmt: skip


def write_run(
    folder: Path, method: str = "fedavg", *settings: str, seed: int = 0, models: Sequence[str] = ("shared",),
    level: float = 0.8, gain: float = 0.1, rounds: int = 4, done: int | None = None,
    clients: Mapping[str, Mapping[str, float]] | None = None, log: Mapping[str, float] | None = None,
    finished: bool = True, domain: str = "", **summary: Any,
) -> Path:  # fmt: skip
    """A run whose accuracies rise from ``level`` by ``gain``, and a little with the seed.

    Args:
        folder: the run's own.
        method: an installed one; its recipe is real.
        settings: of the recipe.
        seed: root of the run.
        models: which models there are.
        level, gain: of all accuracies before, and until the end.
        rounds, done: planned and in the log.
        clients: each client's own numbers at the end.
        log: numbers that every round logs, besides the loss.
        finished: whether there is a summary.
        domain: name of a domain with accuracies of its own.
        summary: fields of ``summary.json`` to replace.
    """
    recipe = load_recipe(method, [*settings, f"rounds={rounds}", f"seed={seed}", f"output={folder.parent}"])
    write_text(folder / "recipe.yaml", recipe.to_yaml())
    done = rounds if done is None else done
    shown = clients if clients is not None else _clients(models, level + gain)

    def metrics(round_: int) -> dict[str, float]:
        share = (round_ + 1) / max(rounds, 1)
        return _metrics(models, level + gain * share + 0.01 * seed, domain)

    events: list[dict[str, Any]] = [
        {"type": "run_started", "clients": len(shown), "time": 1.0},
        {"type": "evaluated", "round": -1, "metrics": metrics(-1), "per_client": _clients(models, level), "time": 1.0},
    ]
    for round_ in range(done):
        events.append({"type": "evaluated", "round": round_, "metrics": metrics(round_), "per_client": {}, "time": 2.0})
        events.append({"type": "round", "round": round_, "rounds": rounds, "loss": 1 / (round_ + 1),
                       "log": {"loss": 1 / (round_ + 1), **{name: value + 0.1 * round_ for name, value in
                                                            (log or {}).items()}}, "time": 2.0})  # fmt: skip
    write_text(folder / "events.jsonl", "".join(f"{json.dumps(event)}\n" for event in events))
    if finished:
        whole = {
            "method": method, "recipe_hash": recipe.hash, "seed": seed, "rounds": done, "final_hash": "f" * 16,
            "metrics": metrics(done - 1), "before": metrics(-1), "clients": shown,
            "bytes": {"up": 900_016, "down": 800_000, "by_kind": KINDS, "evaluation": {"up": 5, "down": 5}},
            "seconds": SECONDS, "work": {"steps": 40.0, "examples": 800.0},
            "model": {"name": "tiny-clip", "fingerprint": "0123456789abcdef"}, "environment": ENVIRONMENT, **summary,
        }  # fmt: skip
        write_json(folder / "summary.json", whole)
    return folder


def _metrics(models: Sequence[str], value: float, domain: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for model in models:
        for split, by in (("local", 0.0), ("base", 0.01), ("novel", -0.05), ("hm", -0.02), ("global", -0.1)):
            found[f"{model}/{split}/accuracy/mean"] = value + by
        found[f"{model}/local/accuracy/worst"] = value - 0.1
        if domain:
            found[f"{model}/domain/{domain}/accuracy/mean"] = value
    return found


def _clients(models: Sequence[str], value: float) -> dict[str, dict[str, float]]:
    return {f"client-{k}": {"examples": 10.0 + k, **{f"{model}/local/accuracy": value - 0.05 * k + 0.02 * place
                                                    for place, model in enumerate(models)}}
            for k in range(3)}  # fmt: skip


def scenes_of(folder: Path, baseline: str | None = None, metrics: Sequence[str] = ()) -> list[Scene]:
    """What a report shows of the runs in a folder, condition by condition."""
    return make_scenes(gather([folder]).groups, baseline, metrics)


def texts(grid: Grid) -> list[list[str]]:
    """A table's cells as texts, headings first."""
    return [list(grid.head), *([cell.text for cell in cells] for cells in grid.rows)]
