"""Suites with one file of results and a table in a page: what is kept, and that pages show what is committed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from benchmarks.answers import ANSWERS
from benchmarks.paged import END, Paged
from benchmarks.pareto import PARETO
from benchmarks.replacements import REPLACEMENTS

from runs import SMALL
from synoptic.core import SynopticError
from synoptic.core.files import read_json
from synoptic.experiment.comparison.matrix import Comparison, Problem
from synoptic.experiment.comparison.suite import suite_of_words

ALL = pytest.mark.parametrize("one", [ANSWERS, PARETO, REPLACEMENTS], ids=lambda one: str(one.name))


@ALL
def test_the_page_shows_the_committed_results(one: Paged) -> None:
    page = one.page.read_text(encoding="utf-8")
    assert one.begin in page
    shown = one.with_table(page, read_json(one.results)["runs"])
    assert page == shown, f"run: python -m benchmarks.{one.name} --page"


@ALL
def test_the_results_are_of_the_suite_as_it_is(one: Paged) -> None:
    suite, content = one.suite(), read_json(one.results)
    assert list(content["runs"]) == list(suite.methods)
    assert all([run["seed"] for run in runs] == list(suite.seeds) for runs in content["runs"].values())


@pytest.mark.parametrize("one", [PARETO, REPLACEMENTS], ids=lambda one: str(one.name))
def test_equal_results_give_an_equal_picture(one: Paged, tmp_path: Path) -> None:
    assert one.draw is not None
    for name in ("a.png", "b.png"):
        one.draw(read_json(one.results)["runs"], tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def trial(page: Path) -> Paged:
    return Paged("trial", "A trial.", page, lambda: suite_of_words(["zeroshot", *SMALL]), page.parent,
                 lambda run: {"bytes": run.summary["bytes"]["up"]},
                 lambda runs: [f"{len(runs['zeroshot'])} seeds"])  # fmt: skip


def test_a_quick_run_writes_beside_its_runs_and_touches_no_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, page = trial(tmp_path / "page.md"), "head\n"
    one.page.write_text(page, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["trial", "--quick", "--output", str(tmp_path / "runs")])
    one.main()
    assert capsys.readouterr().out.splitlines()[-1] == "2 seeds"
    assert one.page.read_text(encoding="utf-8") == page
    text = (tmp_path / "runs" / "trial.json").read_text(encoding="utf-8")
    kept = read_json(tmp_path / "runs" / "trial.json")
    assert [(run["seed"], run["bytes"]) for run in kept["runs"]["zeroshot"]] == [(0, 0), (1, 0)]
    assert len(kept["recipe_hashes"]["zeroshot"]) == 16
    assert str(tmp_path) not in text, "places are of one machine"


def test_the_table_stands_between_its_marks_however_often_it_is_written(tmp_path: Path) -> None:
    one, runs = trial(tmp_path / "page.md"), {"zeroshot": [{}]}
    page = f"head\n{one.begin}\n{END}\ntail\n"
    once = one.with_table(page, runs)
    assert "1 seeds" in once and once.startswith("head") and once.endswith("tail\n")
    assert one.with_table(once, runs) == once


def test_a_run_that_is_missing_is_told(tmp_path: Path) -> None:
    suite = suite_of_words(["zeroshot", *SMALL])
    with pytest.raises(SynopticError, match="no result for zeroshot, seed 0: the disk is full; mend it and run again"):
        trial(tmp_path).content(Comparison(suite, (), (Problem(suite.cells[0], "the disk is full"),)))
