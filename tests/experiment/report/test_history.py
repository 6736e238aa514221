from __future__ import annotations

import json
from pathlib import Path

from synoptic.experiment.records import read_run
from synoptic.experiment.report.history import History, read_history
from written import write_run


def history(folder: Path) -> History:
    return read_history(read_run(folder))


def append(folder: Path, *lines: str) -> None:
    with (folder / "events.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(lines)


def test_rounds_count_from_one_and_the_start_is_zero(tmp_path: Path) -> None:
    found = history(write_run(tmp_path / "run", rounds=3, log={"reward": 0.5}))
    assert (found.planned, found.done, found.clients, found.problem) == (3, 3, 3, "")
    assert list(found.curves["shared/base/accuracy/mean"]) == [0, 1, 2, 3]
    assert found.curves["log/loss"] == {1: 1.0, 2: 0.5, 3: 1 / 3}
    assert found.curves["log/reward"] == {1: 0.5, 2: 0.6, 3: 0.7}
    assert found.before["client-0"]["shared/local/accuracy"] == 0.8


def test_failures_are_counted(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    append(folder, json.dumps({"type": "failure", "round": 0}) + "\n", json.dumps({"type": "round_failed"}) + "\n")
    assert (history(folder).failures, history(folder).failed_rounds) == (1, 1)


def test_what_is_no_finite_number_is_left_out(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", rounds=1)
    log = {"nan": float("nan"), "word": "x", "truth": True, "list": [1], "none": None, "good": 2}
    append(folder, json.dumps({"type": "round", "round": 1, "log": log, "loss": None}) + "\n")
    curves = history(folder).curves
    assert [name for name in curves if name.startswith("log/")] == ["log/loss", "log/good"]
    assert curves["log/loss"] == {1: 1.0}


def test_a_line_that_is_being_written_is_not_there_yet(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", done=2, finished=False)
    append(folder, '{"type": "round", "rou')
    found = history(folder)
    assert (found.done, found.planned, found.problem) == (2, 4, "")


def test_a_run_that_has_just_begun_has_no_log(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", finished=False)
    (folder / "events.jsonl").unlink()
    assert history(folder) == History(4, 0)


def test_a_damaged_log_says_so_without_saying_where_the_run_lies(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    append(folder, "{broken\n", json.dumps({"type": "x"}) + "\n")
    found = history(folder)
    assert found.problem.startswith("line 11 of run/events.jsonl is damaged")
    assert (found.done, found.curves) == (4, {})
    (folder / "events.jsonl").unlink()
    assert history(folder).problem.startswith("run/events.jsonl does not exist")


def test_an_event_of_another_kind_is_a_damaged_log(tmp_path: Path) -> None:
    for line in ("5\n", '{"time": 1}\n', '{"type": "evaluated", "round": 1}\n', '{"type": "round", "round": "x"}\n'):
        folder = write_run(tmp_path / str(len(line)))
        append(folder, line)
        assert "holds an event of another kind" in history(folder).problem
