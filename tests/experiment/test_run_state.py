from __future__ import annotations

import io
import os
import time
from pathlib import Path

import pytest
from rich.console import Console

from runs import small, stop_at
from synoptic.core import SynopticError
from synoptic.experiment.display.states import show_state, show_states
from synoptic.experiment.events import Event
from synoptic.experiment.run_state import RunState, read_state, read_states
from synoptic.experiment.runner import run

REFUSED = ["federation.max_update_norm=1e-12", "federation.max_failed_rounds=9"]


def stopped(folder: Path, *changes: str) -> Path:
    with pytest.raises(KeyboardInterrupt):
        run(small(folder, "fedavg", *changes), [stop_at("cohort", 2)])
    (path,) = folder.iterdir()
    return path


def shown(*states: RunState | SynopticError, width: int = 60) -> list[str]:
    console = Console(file=io.StringIO(), width=width, markup=False, highlight=False)
    if len(states) == 1 and isinstance(states[0], RunState):
        show_state(console, states[0])
    else:
        show_states(console, states)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_stopped_run(tmp_path: Path) -> None:
    path = stopped(tmp_path)
    state = read_state(path)
    assert (state.status, state.done, state.rounds, state.failures, state.left) == ("stopped", 2, 4, 0, None)
    assert state.metrics["shared/base/accuracy/mean"] > 0
    lines = shown(state)
    assert lines[0] == "fedavg on digits, 3 clients, seed 0"
    assert lines[2].startswith("stopped with 2 of 4 rounds done  shared/base")
    assert lines[3] == f"go on: synoptic run --resume {path}"


def test_a_finished_run_says_its_result(tmp_path: Path) -> None:
    result = run(small(tmp_path, "fedavg", "rounds=1"))
    state = read_state(result.folder)
    assert (state.status, state.done, state.rounds, state.metrics) == ("finished", 1, 1, result.metrics)
    assert state.summary == result.summary


def test_a_running_run_says_how_long_it_may_take(tmp_path: Path) -> None:
    seen: list[RunState] = []

    def look(event: Event) -> None:
        if event["type"] == "round":
            seen.append(read_state(next(tmp_path.iterdir())))

    run(small(tmp_path), [look])
    assert [state.status for state in seen] == ["running"] * 4
    assert [state.done for state in seen] == [1, 2, 3, 4]
    state = seen[1]
    assert state.left == pytest.approx(2 * sum(state.seconds) / 2)
    assert seen[3].left == 0
    assert " left  last event 0." in shown(state)[2]


def test_failures_are_counted(tmp_path: Path) -> None:
    state = read_state(stopped(tmp_path, *REFUSED))
    assert state.failures == 6
    assert "6 times a client failed" in shown(state)


def test_a_run_without_a_log_yet_has_done_nothing(tmp_path: Path) -> None:
    path = stopped(tmp_path)
    (path / "events.jsonl").unlink()
    state = read_state(path)
    assert (state.status, state.done, state.rounds) == ("stopped", 0, 4)
    assert shown(state)[0] == "stopped with 0 of 4 rounds done"


def test_a_lock_of_another_user_leaves_it_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stopped(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    state = read_state(path)
    assert state.status == "unknown"
    assert len(shown(state)) == 3, "nobody is told to resume what may be running"


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("recipe.yaml", b"method: {name: fedavg}\nseed: 0\n", "does not say how many rounds"),
        ("recipe.yaml", b"a: [\n", "not YAML"),
        ("summary.json", b"{", "is not readable JSON"),
        ("summary.json", b"{}", "lacks method"),
        ("events.jsonl", b"noise\n", "line 1 of .* is damaged"),
    ],
)
def test_a_damaged_file_is_one_sentence_and_hides_no_other_run(
    tmp_path: Path, file: str, content: bytes, sentence: str
) -> None:
    path = stopped(tmp_path)
    (path / file).write_bytes(content)
    with pytest.raises(SynopticError, match=sentence):
        read_state(path)
    run(small(tmp_path, "zeroshot", "rounds=0"))
    states = read_states(tmp_path)
    assert sorted(type(state).__name__ for state in states) == ["RunState", "SynopticError"]
    lines = shown(*states)
    assert sum(line.startswith("left out: ") for line in lines) == 1
    assert any(line.split()[:2] == ["finished", "0/0"] for line in lines)


@pytest.mark.parametrize("width", [60, 120])
def test_many_runs_are_a_table(width: int) -> None:
    metrics = {"shared/base/accuracy/mean": 0.5, "personal/local/accuracy/mean": 0.25}
    runs = [
        RunState(Path("runs/fedavg-digits-0123abcd-s0"), "running", 40, 10, metrics, seconds=[1.5] * 10),
        RunState(Path("runs/local-world-0123abcd-s12"), "stopped", 100, 99, metrics, last=time.time()),
        RunState(Path("runs/zeroshot-parquet-0123abcd-s0"), "unknown", 0),
    ]
    lines = shown(*runs, width=width)
    assert all(len(line) <= width for line in lines)
    whole = " ".join(lines)
    for part in ("running", "10/40", "45 s left", "99/100", "unknown", "50.0 %", "25.0 %"):
        assert part in whole


def test_no_runs_are_no_table(tmp_path: Path) -> None:
    assert read_states(tmp_path) == []
    assert shown() == []
