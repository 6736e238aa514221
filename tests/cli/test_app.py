from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runs import LISTENING
from synoptic import cli
from synoptic.core import SynopticError
from synoptic.experiment import runner
from synoptic.experiment.recipe import Recipe
from synoptic.experiment.runner import RunResult

SUMMARY = {
    "rounds": 2, "metrics": {"shared/base/accuracy/mean": 0.5}, "bytes": {"up": 1000, "down": 2000},
    "seconds": {"total": 1.0, "train": 1.0, "evaluate": 0.0, "communicate": 0.0},
}  # fmt: skip
STARTED = {
    "type": "run_started", "run": "x", "folder": "runs/x y", "method": "fedavg", "model": "m", "data": "digits",
    "clients": 5, "rounds": 2, "seed": 0, "recipe_hash": "0" * 16, "threads": 1, "stack": 1, "first_round": 0,
}  # fmt: skip
ROUND = {"type": "round", "round": 0, "rounds": 2, "seconds": 1.0, "loss": 1.0, "clients": 5, "bytes_up": 1,
         "bytes_down": 1, "metrics": {}, "log": {}}  # fmt: skip

Fake = Callable[..., list[Any]]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """A runner that tells two events and ends as asked; the recipes it got."""
    monkeypatch.setenv(cli.DEBUG, "0")
    monkeypatch.setenv("COLUMNS", "60")

    def install(end: BaseException | None = None) -> list[Any]:
        seen: list[Any] = []

        def go(what: Any, observers: Any = ()) -> RunResult:
            seen.append(what)
            for observer in observers:
                observer(STARTED)
                observer(ROUND)
            if end is not None:
                raise end
            return RunResult(Path("runs/x y"), SUMMARY["metrics"], SUMMARY)  # type: ignore[arg-type]

        monkeypatch.setattr(runner, "run", go)
        monkeypatch.setattr(runner, "resume", go)
        return seen

    return install


def test_run_shows_rounds_and_a_table(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    seen = fake()
    assert cli.main(["run", "fedprox", "method.mu=0.5", "data=world", "rounds=2"]) == 0
    assert seen[0].method.model_dump()["mu"] == 0.5
    assert (seen[0].data.source, seen[0].rounds) == ("world", 2)
    out = capsys.readouterr().out
    for part in ("fedavg on digits", "round 1/2", "shared/base/accuracy/mean  50.0 %", "run folder: runs/x y"):
        assert part in out


def test_quiet_prints_the_folder_and_nothing_else(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake()
    assert cli.main(["run", "fedavg", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("runs/x y\n", "")


def test_resume_takes_a_folder(fake: Fake) -> None:
    seen = fake()
    assert cli.main(["run", "--resume", "runs/x"]) == 0
    assert seen == [Path("runs/x")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "give either a RECIPE"),
        (["run", "fedavg", "--resume", "runs/x"], "give either a RECIPE"),
        (["run", "data=world"], "name a method or a YAML file before the setting 'data=world'"),
        (["run", "fedavg", "--loud"], "No such option"),
        (["walk"], "No such command"),
    ],
)
def test_what_is_no_command_is_told_with_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_a_mistake_is_one_line_and_status_2(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    seen = fake()
    assert cli.main(["run", "fedavg", "data.partion=iid"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "error: recipe key 'data.partion' does not exist; did you mean 'data.partition'?\n"
    assert captured.out == ""
    assert not seen
    assert cli.main(["run", "fedavg", "rounds=many", "seed=-1"]) == 2
    assert [line[:20] for line in capsys.readouterr().err.splitlines()] == [
        "error: recipe key 'r",
        "error: recipe key 's",
    ]


def test_an_error_in_the_run_is_one_line_and_status_2(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake(SynopticError("3 rounds in a row failed", "mend the clients"))
    assert cli.main(["run", "fedavg", "-q"]) == 2
    assert capsys.readouterr().err == "error: 3 rounds in a row failed; mend the clients.\n"


@pytest.mark.parametrize("how", ["option", "before", "variable"])
def test_debug_shows_the_traceback(how: str, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(SynopticError("broken"))
    arguments = {"option": ["run", "fedavg", "--debug"], "before": ["--debug", "run", "fedavg"]}
    if how == "variable":
        monkeypatch.setenv(cli.DEBUG, "1")
    with pytest.raises(SynopticError):
        cli.main(arguments.get(how, ["run", "fedavg"]))


def test_a_bug_keeps_its_traceback(fake: Fake) -> None:
    fake(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(["run", "fedavg", "-q"])


@pytest.mark.parametrize("more", [[], ["--quiet"]])
def test_ctrl_c_says_how_to_go_on(more: list[str], fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake(KeyboardInterrupt())
    assert cli.main(["run", "fedavg", *more]) == 130
    assert capsys.readouterr().err == "stopped with 1 rounds done; go on: synoptic run --resume 'runs/x y'\n"


def test_ctrl_c_before_the_run_began(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run", stop)
    monkeypatch.setattr(runner, "resume", stop)
    assert cli.main(["run", "fedavg"]) == 130
    assert "nothing to resume" in capsys.readouterr().err
    assert cli.main(["run", "--resume", "runs/x"]) == 130
    assert capsys.readouterr().err == "stopped; go on: synoptic run --resume runs/x\n"


def test_run_help_lists_the_keys(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert cli.main(["run", "--help"]) == 0
    out = capsys.readouterr().out
    for part in ("synoptic run fedavg", "data.partition.alpha=0.5", "rounds=10", "train.lr=0.001", "--resume FOLDER"):
        assert part in out
    assert max(len(line) for line in out.splitlines()) <= 60


@pytest.mark.parametrize("arguments", [["--help"], ["data", "--help"], ["pretrain", "--help"], ["--version"]])
def test_help_and_version(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.strip()


def test_methods_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["methods"]) == 0
    out = capsys.readouterr().out
    assert "fedprox" in out
    assert "method.mu=0.01" in out


def test_inspect_shows_a_table_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "who.svg"
    assert cli.main(["data", "inspect", "fedavg", "data.clients=3", "--out", str(picture)]) == 0
    out = capsys.readouterr().out
    assert "3 clients hold" in out
    assert f"picture: {picture}" in out
    assert picture.stat().st_size > 1000


def test_pretrain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from synoptic.models import pretraining

    seen: list[Any] = []

    def pretrain(folder: Path, spec: Any, seed: int, progress: Callable[[int, float], None]) -> Path:
        seen.append((folder, spec.steps, seed))
        progress(0, 1.0)
        return folder

    monkeypatch.setattr(pretraining, "pretrain", pretrain)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["pretrain", "tiny-clip", "--steps", "3", "--seed", "4"]) == 0
    assert seen == [(Path("tiny-clip"), 3, 4)]
    assert "model folder: tiny-clip" in capsys.readouterr().out
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert cli.main(["pretrain", "tiny-clip", "--out", "full"]) == 2
    assert "full exists already" in capsys.readouterr().err
    assert cli.main(["pretrain", "tiny-clp"]) == 2
    assert "did you mean 'tiny-clip'" in capsys.readouterr().err
    assert cli.main(["pretrain", "tiny-clip", "--steps", "0"]) == 2


# -- in a process of its own ----------------------------------------------------------------------------------------


def imported(code: str) -> set[str]:
    """Modules that are loaded after some code ran in a fresh interpreter."""
    tail = "; import sys, json; sys.stdout.flush(); print('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


HEAVY = {"torch", "numpy", "transformers", "tensordict", "peft", "datasets", "matplotlib", "sklearn"}


def test_help_imports_typer_alone() -> None:
    loaded = imported("from synoptic.cli import main; main(['--help'])")
    assert not loaded & (HEAVY | {"pydantic", "rich", "yaml", "synoptic.core"})


def test_the_package_itself_imports_nothing_heavy() -> None:
    assert not imported("import synoptic") & (HEAVY | {"pydantic", "typer"})


def test_help_on_keys_imports_no_tensors() -> None:
    if "torch" in imported("import synoptic.core.config, synoptic.data.spec"):
        pytest.skip("synoptic.core or synoptic.data imports torch by itself")
    assert not imported("from synoptic.cli import main; main(['run', '--help'])") & HEAVY


def test_the_package_gives_what_it_names() -> None:
    import synoptic

    assert synoptic.Recipe is Recipe
    assert synoptic.RunResult is RunResult
    with pytest.raises(AttributeError, match="no attribute 'walk'"):
        _ = synoptic.walk


def test_python_runs_what_the_command_line_runs(fake: Fake) -> None:
    import synoptic

    seen = fake()
    result = synoptic.run("fedavg", "train.lr=0.5", data="world", rounds=5)
    assert result.metrics["shared/base/accuracy/mean"] == 0.5
    assert (seen[0].train.lr, seen[0].data.source, seen[0].rounds) == (0.5, "world", 5)
    synoptic.run(seen[0])
    assert seen[1] is seen[0]
    with pytest.raises(TypeError, match="a finished recipe takes no settings"):
        synoptic.run(seen[0], rounds=3)
    synoptic.resume("runs/x")
    assert seen[2] == Path("runs/x")


@pytest.mark.skipif(os.name == "nt", reason="SIGINT as sent by a POSIX terminal")
def test_ctrl_c_in_a_real_run_leaves_something_to_resume(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LISTENING, "run"]
    settings = ["fedavg", "rounds=500", "train.steps=1", "compute.threads=1", "federation.stack=5", "evaluate.every=0",
                "data.train_limit=200", "data.test_limit=100"]  # fmt: skip
    started = subprocess.Popen(
        [*command, *settings], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert started.stdout is not None
    for line in started.stdout:
        if line.startswith("round   2/500"):
            break
    started.send_signal(signal.SIGINT)
    _, error = started.communicate(timeout=60)
    assert started.returncode == 130
    assert error.startswith("stopped with ")
    folder = error.split()[-1]
    assert (tmp_path / folder / "checkpoints").is_dir()
