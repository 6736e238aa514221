"""Runs written by hand whose results are no accuracies: utilities, preferences, or several tasks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from synoptic.core.files import read_json, write_json, write_text
from written import write_run

Numbers = Mapping[str, float]


def write_utilities(folder: Path, method: str = "fedavg", *settings: str, **more: Any) -> Path:
    """`written.write_run` with utilities of 4 times the accuracy less 3, and exact answers next to never."""
    return _changed(write_run(folder, method, "data=questions", *settings, **more), _utilities)


def write_preferences(folder: Path, method: str = "fedavg", *settings: str, **more: Any) -> Path:
    """`written.write_run` with preferences in place of accuracies."""
    return _changed(write_run(folder, method, "data=questions", *settings, **more), _preferences)


def write_tasks(folder: Path, method: str = "fedavg", *settings: str, **more: Any) -> Path:
    """`written.write_run` with the tasks ``shapes`` (that accuracy) and ``pictures`` (the rest of it is the error)."""
    return _changed(write_run(folder, method, "data=tasks", *settings, **more), _tasks)


def _changed(folder: Path, told: Callable[[str, float], Numbers]) -> Path:
    def numbers(given: Numbers) -> dict[str, float]:
        return {new: number for name, value in given.items() for new, number in told(name, value).items()}

    def clients(given: Mapping[str, Numbers]) -> dict[str, Numbers]:
        return {client: numbers(own) for client, own in given.items()}

    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    for line in lines:
        if line["type"] == "evaluated":
            line |= {"metrics": numbers(line["metrics"]), "per_client": clients(line["per_client"])}
    write_text(folder / "events.jsonl", "".join(f"{json.dumps(line)}\n" for line in lines))
    if (folder / "summary.json").exists():
        whole = read_json(folder / "summary.json")
        whole |= {key: numbers(whole[key]) for key in ("metrics", "before")}
        write_json(folder / "summary.json", whole | {"clients": clients(whole["clients"])})
    return folder


def _utilities(name: str, value: float) -> Numbers:
    if "/accuracy" not in name:
        return {name: value}
    return {name: 0.01, name.replace("/accuracy", "/utility"): 4 * value - 3}


def _preferences(name: str, value: float) -> Numbers:
    return {name.replace("/accuracy", "/preference"): value}


def _tasks(name: str, value: float) -> Numbers:
    model, _, rest = name.partition("/")
    if rest == "local/accuracy/mean":
        return {f"{model}/local/shapes/accuracy/mean": value, f"{model}/local/pictures/error/mean": 1 - value,
                f"{model}/local/skill/mean": 2 * value - 1, f"{model}/local/skill/worst": 2 * value - 1.5,
                f"{model}/domain/shapes/accuracy/mean": value}  # fmt: skip
    return {f"{model}/local/shapes/accuracy": value} if rest == "local/accuracy" else {name: value} if not rest else {}
