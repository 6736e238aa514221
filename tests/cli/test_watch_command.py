from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runs import small, stop_at
from synoptic import cli
from synoptic.experiment import follow
from synoptic.experiment.runner import run

COMMAND = [sys.executable, "-c", "import sys; from synoptic.cli import main; sys.exit(main())"]
LONG = ["fedavg", "rounds=500", "train.steps=1", "compute.threads=1", "federation.stack=5", "evaluate.every=0",
        "data.train_limit=200", "data.test_limit=100"]  # fmt: skip


@pytest.fixture(autouse=True)
def _sixty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    with pytest.raises(KeyboardInterrupt):
        run(small(tmp_path / "runs"), [stop_at("cohort", 2)])
    return next((tmp_path / "runs").iterdir())


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    return run(small(tmp_path / "runs", "zeroshot", "rounds=0")).folder


@pytest.mark.parametrize("once", [[], ["--once"]])
def test_a_stopped_run_says_how_to_go_on(once: list[str], stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["watch", str(stopped), *once]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "fedavg on digits, 3 clients, seed 0"
    assert lines[-2].startswith("stopped with 2 of 4 rounds done  shared/base ")
    assert lines[-1] == f"go on: synoptic run --resume {stopped}"
    assert any(line.startswith("round 2/4") for line in lines) is not bool(once)


@pytest.mark.parametrize("once", [[], ["--once"]])
def test_a_finished_run_shows_its_result(once: list[str], finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["watch", str(finished), *once]) == 0
    out = capsys.readouterr().out
    assert "shared/base/accuracy/mean" in out
    assert f"run folder: {finished}" in out


def test_numbers_of_an_old_run(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["watch", str(finished), "--once", "--csv"]) == 0
    assert f"written: {finished / 'metrics.csv'}" in capsys.readouterr().out
    assert cli.main(["watch", str(finished), "--csv", "--to", str(tmp_path / "to")]) == 0
    capsys.readouterr()
    there = tmp_path / "to" / finished.name / "metrics.csv"
    assert there.read_text() == (finished / "metrics.csv").read_text() != "round,seconds,name,value\n"


def test_a_folder_of_runs_is_listed(stopped: Path, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["watch", str(stopped.parent)]) == 0
    rows = capsys.readouterr().out
    assert "stopped" in rows
    assert "finished" in rows
    assert cli.main(["watch", str(stopped.parent), "--csv"]) == 2
    assert "holds several runs; name one of them" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nothing"], "there is no run folder nothing; give the path that the run printed"),
        (["."], "is no run folder: it has no recipe.yaml"),
        (["x", "--to", "y"], "--to says where --csv and --tensorboard write"),
    ],
)
def test_what_cannot_be_watched_is_one_sentence(
    arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert cli.main(["watch", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_a_damaged_log_is_one_sentence(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (stopped / "events.jsonl").write_bytes(b"noise\n")
    for once in ([], ["--once"]):
        assert cli.main(["watch", str(stopped), *once]) == 2
        assert re.fullmatch(r"error: line 1 of .* is damaged; restore the file from a copy\.\n",
                            capsys.readouterr().err)  # fmt: skip


def test_ctrl_c_is_quiet(stopped: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def press(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(follow, "alive", lambda folder: True)
    monkeypatch.setattr(follow.time, "sleep", press)
    assert cli.main(["watch", str(stopped)]) == 130
    assert capsys.readouterr().err == ""


def test_run_writes_what_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["fedavg", "rounds=1", "data.train_limit=60", "data.test_limit=40", "data.clients=3",
                "compute.threads=1", "federation.stack=2", f"output={tmp_path}"]  # fmt: skip
    assert cli.main(["run", *settings, "--csv"]) == 0
    (folder,) = tmp_path.iterdir()
    assert f"written: {folder / 'metrics.csv'}" in capsys.readouterr().out
    (folder / "metrics.csv").unlink()
    assert cli.main(["run", "--resume", str(folder), "--csv", "-q"]) == 0
    assert (folder / "metrics.csv").exists(), "a finished run tells no events, its log does"
    assert capsys.readouterr().out == f"{folder}\n"


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_run_of_another_process_that_is_killed(tmp_path: Path) -> None:
    """The run is followed while it runs, and told to have stopped when its process is gone."""
    runner = subprocess.Popen([*COMMAND, "run", *LONG, f"output={tmp_path}", "-q"])
    watcher = None
    try:
        path = None
        for _ in range(600):
            path = next((log.parent for log in tmp_path.glob("*/events.jsonl")), None)
            if path is not None and path.joinpath("events.jsonl").read_bytes().count(b'"type": "round"') > 2:
                break
            time.sleep(0.1)
        assert path is not None
        watcher = subprocess.Popen([*COMMAND, "watch", str(path)], stdout=subprocess.PIPE, text=True)
        assert watcher.stdout is not None
        lines = [watcher.stdout.readline() for _ in range(6)]
        assert lines[0].startswith("fedavg on digits, 5 clients")
        assert any(line.startswith("round   2/500") for line in lines)
        os.kill(runner.pid, signal.SIGKILL)
        rest, _ = watcher.communicate(timeout=60)
        assert watcher.returncode == 1
        assert re.search(r"^stopped with \d+ of 500 rounds done", rest, re.MULTILINE)
        assert f"go on: synoptic run --resume {path}" in rest
    finally:
        for process in (runner, watcher):
            if process is not None:
                process.kill()
                process.wait(10)
