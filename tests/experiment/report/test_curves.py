from __future__ import annotations

from pathlib import Path

import pytest

from measured import write_tasks, write_utilities
from synoptic.experiment.report.curves import Line, learning_curves
from synoptic.experiment.report.parts import Block, Figure
from synoptic.experiment.report.scene import Series
from written import scenes_of, texts, write_run


def curves(folder: Path, *metrics: str) -> dict[str, Figure]:
    (scene,) = scenes_of(folder, metrics=metrics)
    block = learning_curves(scene)
    assert isinstance(block, Block)
    return {figure.title: figure for figure in block.figures}


def test_a_line_is_the_mean_with_its_lowest_and_highest_seed() -> None:
    line = Line(Series("a", "shared", "a", 0), "a", ({0: 0.1, 1: 0.2, 2: 0.3}, {0: 0.3, 1: 0.6}))
    assert line.rounds == [0, 1]
    assert line.at(1) == (pytest.approx(0.4), 0.2, 0.6)
    assert Line(line.series, "a", ()).rounds == []


def test_there_is_a_panel_for_each_split_and_the_loss(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path / f"a{seed}", seed=seed)
    write_run(tmp_path / "b", "local", models=("personal",))
    found = curves(tmp_path)
    assert list(found) == ["local, %", "base, %", "novel, %", "training loss"]
    assert [key.name for key in found["local, %"].keys] == ["fedavg", "local (personal)"]
    assert [key.name for key in found["training loss"].keys] == ["fedavg", "local"], "a loss belongs to the method"
    table = found["base, %"].grid
    assert texts(table)[:2] == [["round", "fedavg", "local (personal)"], ["0", "81.5", "81.0"]]
    assert table.rows[0][1].note == "81.0 to 82.0"
    assert "fedavg from 81.5 % to 91.5 %" in found["base, %"].svg, "what a screen reader hears"


def test_a_metric_that_was_asked_for_has_a_panel(tmp_path: Path) -> None:
    write_run(tmp_path / "a", domain="pastel")
    assert "domain/pastel/accuracy/mean, %" in curves(tmp_path, "domain/pastel/accuracy/mean")
    assert "shared/domain/pastel/accuracy/mean, %" in curves(tmp_path, "shared/domain/pastel/accuracy/mean")


def test_an_unfinished_run_has_a_line_of_its_own(tmp_path: Path) -> None:
    write_run(tmp_path / "a0")
    write_run(tmp_path / "a1", seed=1, done=2, finished=False)
    (done, open_) = curves(tmp_path)["base, %"].keys
    assert (done.name, done.faint) == ("fedavg", False)
    assert (open_.name, open_.faint) == ("fedavg, seed 1, not finished", True)
    assert texts(curves(tmp_path)["base, %"].grid)[-1][1:] == ["91.0", "\u2013"]


def test_what_was_not_trained_is_drawn_right_across(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "z", "zeroshot", rounds=0, gain=0)
    figure = curves(tmp_path)["base, %"]
    assert [key.name for key in figure.keys] == ["fedavg", "zeroshot"]
    assert texts(figure.grid)[1:3] == [["0", "81.0", "81.0"], ["1", "83.5", "\u2013"]]


def test_a_single_moment_is_no_curve(tmp_path: Path) -> None:
    write_run(tmp_path / "z", "zeroshot", rounds=0, gain=0)
    (scene,) = scenes_of(tmp_path)
    assert learning_curves(scene) is None


def test_many_rounds_have_a_short_table(tmp_path: Path) -> None:
    write_run(tmp_path / "a", rounds=500)
    table = curves(tmp_path)["base, %"].grid
    assert len(table.rows) == 60
    assert (table.rows[0][0].text, table.rows[-1][0].text) == ("0", "500")
    assert table.caption == "60 of 501 rounds, evenly spaced."


def test_a_damaged_log_costs_the_curves_and_says_so(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a")
    (folder / "events.jsonl").unlink()
    (scene,) = scenes_of(tmp_path)
    block = learning_curves(scene)
    assert block is not None
    assert block.figures == ()
    assert block.notes == ("a/events.jsonl does not exist; give the folder of a run.",)


def test_panels_show_what_was_measured(tmp_path: Path) -> None:
    write_utilities(tmp_path / "u" / "a", level=0.6)
    found = curves(tmp_path / "u")
    assert list(found) == ["local", "base", "novel", "training loss"]
    assert found["local"].about == "True utility on local test data by round."
    assert texts(found["local"].grid)[1] == ["0", "\u22120.6"]
    write_tasks(tmp_path / "t" / "a", level=0.4)
    found = curves(tmp_path / "t")
    assert list(found) == ["skill", "training loss"]
    assert [line[1] for line in texts(found["skill"].grid)[1:]][::4] == ["\u22120.2", "0"]
