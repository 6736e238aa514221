from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from runs import SMALL, small, stop_at
from synoptic.core import SynopticError
from synoptic.core.files import read_json
from synoptic.experiment import runner
from synoptic.experiment.comparison import workers
from synoptic.experiment.comparison.compare import compare
from synoptic.experiment.comparison.matrix import find_run, run_suite
from synoptic.experiment.comparison.suite import Suite, suite_of_words
from synoptic.experiment.display.matrix import MatrixWatcher
from synoptic.experiment.events import Event
from synoptic.experiment.folder import RunFolder, writing
from synoptic.experiment.recipe import Recipe
from synoptic.models.load import embedded


def trial(*words: str, seeds: int = 2) -> Suite:
    return suite_of_words([*words, *SMALL, "rounds=2"], seeds)


def statuses(told: list[Event]) -> list[str]:
    return [event["status"] for event in told if event["type"] == "cell" and event["status"] != "running"]


def test_what_is_missing_is_run_and_what_is_finished_is_reused(tmp_path: Path) -> None:
    told: list[Event] = []
    first = run_suite(trial("fedavg", "local", seeds=1), tmp_path, [told.append])
    assert statuses(told) == ["done", "done"]
    assert [(one.label, one.seeds) for one in first.groups] == [("fedavg", (0,)), ("local", (0,))]
    told.clear()
    second = run_suite(trial("local", "fedavg", seeds=2), tmp_path, [told.append])
    assert statuses(told) == ["reused", "reused", "done", "done"]
    assert [one.seeds for one in second.groups] == [(0, 1), (0, 1)]
    assert second.groups[1].runs[0].folder == first.groups[0].runs[0].folder
    told.clear()
    run_suite(trial("fedavg", seeds=1), tmp_path, [told.append], fresh=True)
    assert statuses(told) == ["done"]


def test_the_runs_are_those_that_run_would_make(tmp_path: Path) -> None:
    result = run_suite(trial("fedavg", seeds=1), tmp_path / "suite")
    alone = runner.run(small(tmp_path / "alone", "fedavg", "rounds=2"))
    assert result.groups[0].runs[0].summary["final_hash"] == alone.summary["final_hash"]


def test_stopped_runs_go_on(tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if event["type"] == "cell_event" and event["cell"] == 1:
            stop_at("round", 1)(event["event"])

    with pytest.raises(KeyboardInterrupt):
        run_suite(trial("fedavg", "fedprox", seeds=1), tmp_path, [stop])
    assert len(list(tmp_path.iterdir())) == 2
    told: list[Event] = []
    result = run_suite(trial("fedavg", "fedprox", seeds=1), tmp_path, [told.append])
    assert statuses(told) == ["reused", "done"]
    assert len(list(tmp_path.iterdir())) == 2, "no second folder for what was begun"
    first = next(event["event"] for event in told if event["type"] == "cell_event")
    assert first["first_round"] == 1
    whole = runner.run(small(tmp_path / "whole", "fedprox", "rounds=2"))
    assert result.groups[1].runs[0].summary["final_hash"] == whole.summary["final_hash"]


def test_one_bad_cell_does_not_stop_the_others(tmp_path: Path) -> None:
    suite = trial("fedavg", "local", seeds=1)
    run_suite(suite, tmp_path)
    (next(tmp_path.glob("fedavg-*")) / "summary.json").write_text("{")
    result = run_suite(suite, tmp_path)
    assert [one.label for one in result.groups] == ["local"]
    (problem,) = result.problems
    assert str(problem.cell) == "fedavg, seed 0"
    assert "not readable JSON" in problem.sentence
    assert "remove the file and go on with: synoptic run --resume" in problem.sentence


def test_a_run_that_another_process_writes_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        runner.run(small(tmp_path, "fedavg", "rounds=2"), [stop_at("round", 0)])
    with writing(RunFolder(next(tmp_path.iterdir()))):
        (problem,) = run_suite(trial("fedavg", seeds=1), tmp_path).problems
    assert "is being written by another process; follow it with: synoptic watch" in problem.sentence


def test_a_mistake_is_told_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(SynopticError, match="fedprx"):
        run_suite(trial("fedavg", "fedprx"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_only_a_run_of_the_same_recipe_and_seed_is_found(tmp_path: Path) -> None:
    recipe = small(tmp_path, "fedavg", "rounds=1")
    assert find_run(recipe) is None
    folder = runner.run(recipe).folder
    found = find_run(recipe)
    assert found is not None
    assert found.folder.path == folder
    assert find_run(small(tmp_path, "fedavg", "rounds=1", "seed=1")) is None
    assert find_run(small(tmp_path, "fedavg", "rounds=3")) is None
    folder.rename(tmp_path / f"{folder.name}1")
    assert find_run(recipe) is None, "seed 01 is not seed 0"


def test_a_run_on_other_files_of_the_same_name_is_not_reused(tmp_path: Path) -> None:
    for place in ("one", "two"):
        shutil.copytree(embedded()["tiny-clip"], tmp_path / place / "clip")

    def recipe(place: str) -> Recipe:
        return small(tmp_path / "runs", "fedavg", "rounds=1", f"model={tmp_path / place / 'clip'}")

    runner.run(recipe("one"))
    assert recipe("one").hash == recipe("two").hash
    assert find_run(recipe("one")) is not None
    assert find_run(recipe("two")) is None
    later = time.time() + 60
    os.utime(tmp_path / "one" / "clip" / "config.json", (later, later))
    assert find_run(recipe("one")) is None, "the base has changed since"


@pytest.mark.parametrize("jobs", [2])
def test_several_processes_give_the_same_results(tmp_path: Path, jobs: int) -> None:
    told: list[Event] = []
    watcher = MatrixWatcher()
    apart = run_suite(trial("fedavg", "local", seeds=1), tmp_path / "apart", [told.append, watcher], jobs=jobs)
    alone = run_suite(trial("fedavg", "local", seeds=1), tmp_path / "alone")
    hashes = [[run.summary["final_hash"] for one in found.groups for run in one.runs] for found in (apart, alone)]
    assert hashes[0] == hashes[1]
    assert statuses(told) == ["done", "done"]
    assert {event["event"]["type"] for event in told if event["type"] == "cell_event"} >= {"run_started", "round"}
    assert (watcher.ended, watcher.left()) == (2, 0.0)


def test_processes_that_start_with_the_workers_never_hear_ctrl_c() -> None:
    ask = [sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)"]
    before = signal.getsignal(signal.SIGINT)
    with workers._deaf():
        started = subprocess.run(ask, capture_output=True, text=True, check=True, timeout=60)
    assert started.stdout.strip() == "True"
    assert signal.getsignal(signal.SIGINT) == before


def test_a_comparison_leaves_its_tables(tmp_path: Path) -> None:
    result, folder = compare(trial("fedavg", "local"), tmp_path)
    table = read_json(folder / "table.json")
    assert set(table["runs"]) == {"fedavg||0", "fedavg||1", "local||0", "local||1"}
    assert (tmp_path / table["runs"]["local||1"]).is_dir()
    assert table["suite_hash"] == result.suite.hash
    assert "Paired differences to fedavg" in (folder / "table.md").read_text()
    assert (folder / "table.csv").read_text().startswith("condition,method,model,measure,mean")
    again = compare(suite_of_words([str(folder / "suite.yaml")]), tmp_path)[0]
    assert [one.runs for one in again.groups] == [one.runs for one in result.groups]


def test_another_table_does_not_replace_this_one(tmp_path: Path) -> None:
    two, one = (compare(trial("fedavg", seeds=seeds), tmp_path)[1] for seeds in (2, 1))
    assert two != one
    assert "Seeds 0, 1." in (two / "table.md").read_text()


def test_a_wrong_column_costs_the_column_and_not_the_table(tmp_path: Path) -> None:
    suite = trial("fedavg", seeds=1).model_copy(update={"metrics": ("shared/bas/accuracy/mean",)})
    with pytest.raises(SynopticError, match=r"no run has a metric 'shared/bas.*the table without it is in .*did you"):
        compare(suite, tmp_path)
    (table,) = tmp_path.glob("compare-*/table.md")
    assert "fedavg" in table.read_text()


def test_a_file_is_no_place_for_runs(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(SynopticError, match="is a file; set --output to a folder"):
        run_suite(trial("fedavg"), tmp_path / "x")


def test_the_watcher_knows_how_long_the_rest_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 10.0, 10.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    watcher = MatrixWatcher()
    watcher({"type": "suite_started", "cells": ["a0", "b0", "a1", "b1"], "labels": ["a", "b"], "conditions": [""],
             "seeds": [0, 1]})  # fmt: skip
    assert watcher.left() is None
    _cell(watcher, 0, "running")
    _cell(watcher, 0, "done", seconds=9.0)
    assert watcher.left() == 30.0
    _cell(watcher, 1, "running")
    watcher({"type": "cell_event", "cell": 1, "event": {"type": "round", "round": 0, "rounds": 4}})
    assert watcher.left() == pytest.approx(27.5)


def _cell(watcher: MatrixWatcher, number: int, status: str, **more: Any) -> None:
    watcher({"type": "cell", "cell": number, "status": status, "metrics": {}, **more})
