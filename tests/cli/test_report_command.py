from __future__ import annotations

from pathlib import Path

import pytest

from synoptic import cli
from synoptic.core.files import write_json, write_text
from written import write_run


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(cli.DEBUG, "0")
    monkeypatch.chdir(tmp_path)


def test_a_folder_of_runs_becomes_a_page(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "a", domain="pastel")
    write_run(tmp_path / "runs" / "b", "fedprox")
    assert cli.main(["report", "runs", "--baseline", "fedprox", "--metric", "domain/pastel/accuracy/mean"]) == 0
    assert capsys.readouterr().out == "report: report.html\n"
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    for part in ("fedprox (baseline)", "domain/pastel/accuracy/mean", "2 methods on digits"):
        assert part in text


def test_title_claims_and_place(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs" / "a")
    write_json(tmp_path / "claims.json", [{"id": "a", "statement": "A is so.", "verdict": "undecided"}])
    arguments = ["--out", "deep/er/page.html", "--title", "My <title>", "--claims", "claims.json", "--no-examples"]
    assert cli.main(["report", str(folder), *arguments]) == 0
    assert capsys.readouterr().out == "report: deep/er/page.html\n"
    text = (tmp_path / "deep" / "er" / "page.html").read_text(encoding="utf-8")
    assert "<h1>My &lt;title&gt;</h1>" in text
    assert "? undecided" in text


def test_what_is_left_out_is_told_on_the_terminal_and_on_the_page(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_run(tmp_path / "runs" / "a")
    write_text(write_run(tmp_path / "runs" / "b", seed=1) / "summary.json", "{}")
    assert cli.main(["report", "runs"]) == 0
    assert capsys.readouterr().err.startswith("left out: b/summary.json lacks method, seed")
    assert "Left out: b/summary.json lacks method" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "error: there is no run folder nowhere; give the path that the run printed."),
        (["empty"], "error: empty is no run folder and holds none"),
        (["runs", "--metric", "accuracy"], "error: no run has a metric 'accuracy'; "),
        (
            ["runs", "--baseline", "fedag"],
            "error: the baseline 'fedag' is not among the compared; did you mean 'fedavg'?",
        ),
        (["runs", "--out", "empty"], "error: empty is a folder; name the file, such as --out report.html."),
        (["runs", "--claims", "none.json"], "error: none.json does not exist; check the path."),
    ],
)
def test_mistakes_are_explained(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    write_run(tmp_path / "runs" / "a")
    (tmp_path / "empty").mkdir()
    assert cli.main(["report", *arguments]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def test_a_run_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report"]) == 2
    assert "Missing argument" in capsys.readouterr().err


def test_help_says_what_a_run_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "--help"]) == 0
    out = capsys.readouterr().out
    for part in ("RUN is the folder of a run", "--out FILE", "--no-examples", "default report.html"):
        assert part in out
