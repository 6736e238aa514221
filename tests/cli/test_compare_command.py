from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from runs import SMALL, stop_at
from synoptic import cli, compare
from synoptic.experiment import display
from synoptic.experiment.comparison import matrix
from synoptic.experiment.comparison.suite import suite_of_words
from synoptic.experiment.events import Event

WORDS = ["fedavg", "local", *SMALL, "rounds=1"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


def test_a_table_and_where_it_lies(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", *WORDS, "--seeds", "2"]) == 0
    out = capsys.readouterr().out
    assert "4/4  local, seed 1" in out
    assert "paired difference to fedavg" in out
    assert "Equal local compute" in out
    folder = Path(out.strip().splitlines()[-1].removeprefix("tables: "))
    assert (folder / "table.md").exists()
    assert cli.main(["compare", *WORDS, "--seeds", "2", "--quiet"]) == 0
    assert capsys.readouterr().out == f"{folder}\n"


@pytest.mark.parametrize("width", [60, 120])
def test_no_line_is_wider_than_the_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(display, "output", lambda: Console(width=width, markup=False, emoji=False, highlight=False))
    assert cli.main(["compare", *WORDS, "--seeds", "1"]) == 0
    out = capsys.readouterr().out
    table = out[out.index("one value for seed 0") : out.index("tables: ")]
    assert all(len(line.rstrip()) <= width for line in table.splitlines())
    assert all(name in table for name in ("local %", "worst client %", "HM %", "bytes", "seconds"))


def test_stopping_tells_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    perform = matrix.perform

    def stopping(job: matrix.Job, observers: list[matrix.Observer]) -> Path | str:
        def stop(event: Event) -> None:
            if job.number == 1:
                stop_at("round", 0)(event)

        return perform(job, [*observers, stop])

    monkeypatch.setattr(matrix, "perform", stopping)
    assert cli.main(["compare", *WORDS, "--seeds", "1"]) == 130
    assert "stopped with 1 of 2 runs finished; the same command goes on" in capsys.readouterr().err


def test_a_cell_without_a_result_is_told_and_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", *WORDS, "--seeds", "1"]) == 0
    (next(Path("runs").glob("local-*")) / "summary.json").unlink()
    (next(Path("runs").glob("local-*")) / "recipe.yaml").write_text("[")
    assert cli.main(["compare", *WORDS, "--seeds", "1"]) == 1
    assert "no result for local, seed 0:" in capsys.readouterr().err


def test_mistakes_are_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", "fedavg", "fedavgg"]) == 2
    assert "fedavgg: there is no method called 'fedavgg'" in capsys.readouterr().err
    assert cli.main(["compare", *WORDS, "--seeds", "1", "--metric", "shared/bas/accuracy/mean"]) == 2
    assert "no run has a metric 'shared/bas/accuracy/mean'" in capsys.readouterr().err


def test_the_same_from_python() -> None:
    result = compare(*WORDS, seeds=1)
    assert result.suite.seeds == suite_of_words(WORDS, 1).seeds
    assert [row.label for row in result.tables()[0].rows] == ["fedavg", "local"]
