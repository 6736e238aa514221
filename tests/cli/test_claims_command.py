from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from claimed import SMALL, write
from runs import LISTENING
from synoptic import cli

ROOT = Path(__file__).parents[2]
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(cli.DEBUG, "0")
    monkeypatch.setenv("COLUMNS", "60")
    return tmp_path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of the small file, made once."""
    folder = tmp_path_factory.mktemp("runs")
    path = write(folder)
    options = ["--output", str(folder / "made"), "--results", "none", "--page", "none", "-q"]
    assert cli.main(["claims", str(path), *options]) == 0
    return folder / "made"


def test_verdicts_on_the_screen_and_as_files(place: Path, runs: Path, capsys: Captured) -> None:
    write(place)
    assert cli.main(["claims", "small", "--output", str(runs)]) == 0
    out = capsys.readouterr().out
    assert "suite pair: 8 runs" in out
    assert "✗ does not hold  gains-a-lot" in out
    assert "2 of 3 claims hold, 1 does not, 0 are undecided" in out
    assert "results: small.json" in out
    assert len(json.loads(Path("small.json").read_text())) == 3
    assert not Path("docs").exists()


def test_files_go_where_the_repository_keeps_them(place: Path, runs: Path, capsys: Captured) -> None:
    write(place)
    for folder in ("benchmarks/results/claims", "docs/claims"):
        Path(folder).mkdir(parents=True)
    assert cli.main(["claims", "small", "--output", str(runs), "-q"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "results: benchmarks/results/claims/small.json", "page: docs/claims/small.md",
    ]  # fmt: skip
    assert Path("docs/claims/small.md").read_text().startswith("# Small claims\n")
    assert not Path("small.json").exists()


def test_a_part_is_written_only_where_one_says(place: Path, runs: Path, capsys: Captured) -> None:
    write(place)
    assert cli.main(["claims", "small", "--only", "bytes-flow", "--output", str(runs), "-q"]) == 0
    assert "results:" not in capsys.readouterr().out
    part = ["claims", "small", "--only", "bytes-flow", "--seeds", "2", "--output", str(runs), "-q"]
    assert cli.main([*part, "--results", "part.json", "--page", "part.md"]) == 0
    assert [(row["id"], row["seeds"]) for row in json.loads(Path("part.json").read_text())] == [("bytes-flow", 2)]
    assert Path("part.md").exists()


def test_few_seeds_are_told(place: Path, runs: Path, capsys: Captured) -> None:
    write(place)
    assert cli.main(["claims", "small", "--seeds", "3", "--output", str(runs), "-q"]) == 0
    out = capsys.readouterr().out
    assert "? undecided" in out
    assert "too few, 4 are needed" in out.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["claims"], "Missing argument"),
        (["claims", "smal"], "did you mean 'small'"),
        (["claims", "small", "--only", "x"], "small has no claim 'x'"),
        (["claims", "small", "--quick", "--results", "x.json"], "--quick has seeds of its own and writes nothing"),
        (["claims", "small", "--seeds", "0"], "--jobs and --seeds must be at least 1"),
        (["claims", "small", "--jobs", "0"], "--jobs and --seeds must be at least 1"),
        (["claims", "small", "--quick", "--seeds", "3"], "--quick has seeds of its own and writes nothing"),
    ],
)
def test_mistakes_end_with_status_2(arguments: list[str], message: str, place: Path, capsys: Captured) -> None:
    write(place)
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_runs_without_a_result_end_with_status_2_and_write_nothing(place: Path, capsys: Captured) -> None:
    bad = SMALL.replace("[zeroshot, fedavg]", "[zeroshot, {method: fedavg, data.clients: 500}]").replace("s: 4", "s: 1")
    write(place, bad)
    assert cli.main(["claims", "small", "-q"]) == 2
    captured = capsys.readouterr()
    assert "no result for pair, fedavg, seed 0: 500 clients cannot each get" in captured.err
    assert "error: not all runs gave a result, so nothing was written" in captured.err
    assert "? undecided" in captured.out
    assert not Path("small.json").exists()


def test_a_claim_that_cannot_be_evaluated_fails_the_small_version(place: Path, capsys: Captured) -> None:
    write(place, SMALL.replace("quick: {data.clients: 2,", "quick: {data.clients: 2, data.clients: 500,"))
    assert cli.main(["claims", "small", "--quick", "-q"]) == 2
    write(place, SMALL.replace("{data.clients: 2,", "{data.clients: 500,"))
    assert cli.main(["claims", "small", "--quick", "-q"]) == 2
    captured = capsys.readouterr()
    assert "✗ not evaluated" in captured.out
    assert "error: not all claims can be evaluated" in captured.err


def test_the_foundation_can_be_evaluated(place: Path, capsys: Captured) -> None:
    """What CI checks of every claims file; the committed results are not touched."""
    shutil.copytree(ROOT / "claims", place / "claims")
    Path("benchmarks/results/claims").mkdir(parents=True)
    assert cli.main(["claims", "foundation", "--quick", "-q"]) == 0
    out = capsys.readouterr().out
    rows = [line for line in out.splitlines() if "evaluated  " in line]
    assert rows
    assert all(row.startswith("✓ evaluated") for row in rows)
    assert f"{len(rows)} of {len(rows)} claims can be evaluated" in out
    assert not list(Path("benchmarks/results/claims").iterdir())


@pytest.mark.skipif(os.name == "nt", reason="SIGINT as sent by a POSIX terminal")
def test_ctrl_c_keeps_what_is_finished_and_the_same_command_goes_on(place: Path) -> None:
    write(place, SMALL.replace("seeds: 4", "seeds: 40"))
    command = [sys.executable, "-c", LISTENING, "claims", "small"]
    started = subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"})  # fmt: skip
    assert started.stdout is not None
    for line in started.stdout:
        if line.startswith("3/80"):
            break
    time.sleep(0.05)
    started.send_signal(signal.SIGINT)
    _, error = started.communicate(timeout=60)
    assert started.returncode == 130
    assert error.endswith("runs finished; the same command goes on\n")
    (told,) = map(int, re.findall(r"stopped with (\d+) runs", error))
    # A run may have been written and not yet counted.
    assert len(list(place.glob("runs/claims/*/summary.json"))) - told in (0, 1)
    assert told >= 3


def test_help_fits_sixty_columns(place: Path, capsys: Captured) -> None:
    assert cli.main(["claims", "--help"]) == 0
    out = capsys.readouterr().out
    assert "--quick" in out
    assert "\\[" not in out
    assert max(map(len, out.splitlines())) <= 60
