from __future__ import annotations

import re
from pathlib import Path

from measured import write_preferences, write_tasks, write_utilities
from synoptic.experiment.report.bars import bars
from synoptic.experiment.report.parts import Figure
from written import scenes_of, texts, write_run


def figures(folder: Path) -> dict[str, Figure]:
    (scene,) = scenes_of(folder)
    block = bars(scene)
    assert block is not None
    return {figure.title: figure for figure in block.figures}


def test_there_is_a_panel_for_each_split_and_domain(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path / f"a{seed}", seed=seed, domain="b<c> & d")
        write_run(tmp_path / f"b{seed}", "fedprox", seed=seed, level=0.7)
    found = figures(tmp_path)
    splits = ["local, %", "worst client, %", "base, %", "novel, %", "HM, %", "global, %"]
    assert list(found) == [*splits, "domain b<c> & d, %"]
    assert texts(found["base, %"].grid) == [
        ["method", "mean %", "± (95 %)", "each seed"],
        ["fedavg", "91.5", "6.4", "91.0, 92.0"],
        ["fedprox", "81.5", "6.4", "81.0, 82.0"],
    ]
    assert texts(found["domain b<c> & d, %"].grid)[2] == ["fedprox", "n/a", "n/a", "n/a"]
    assert "n/a: does not apply" in found["domain b<c> & d, %"].svg
    assert "b&lt;c&gt; &amp; d" in found["domain b<c> & d, %"].svg


def test_one_method_has_its_bars_before_and_after(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    (title,) = found = figures(tmp_path)
    assert title == "before and after, %"
    assert [line[0] for line in texts(found[title].grid)[1:5]] == [
        "local, before", "local, after", "worst client, before", "worst client, after"
    ]  # fmt: skip


def test_zero_rounds_have_one_bar_each(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "zeroshot", rounds=0, gain=0)
    (title,) = found = figures(tmp_path)
    assert [line[0] for line in texts(found[title].grid)[1:3]] == ["local", "worst client"]
    assert found[title].about == "Nothing was trained."


def test_long_names_are_cut_in_the_drawing_and_whole_in_the_table(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "fedprox", "method.mu=0.123456789", "train.weight_decay=0.000123456")
    write_run(tmp_path / "b", "fedprox")
    figure = figures(tmp_path)["base, %"]
    name = "fedprox method.mu=0.123456789 train.weight_decay=0.000123456"
    assert texts(figure.grid)[1][0] == name
    assert f">{name}<" not in figure.svg
    assert ">fedprox method.mu=0.123456789…<" in figure.svg


def test_a_number_that_is_none_has_no_bar(tmp_path: Path) -> None:
    write_run(tmp_path / "a", metrics={"shared/base/accuracy/mean": float("nan")})
    write_run(tmp_path / "b", "fedprox")
    assert "not a number" in figures(tmp_path)["base, %"].svg


def test_nothing_finished_has_no_bars(tmp_path: Path) -> None:
    write_run(tmp_path / "a", finished=False)
    (scene,) = scenes_of(tmp_path)
    assert bars(scene) is None


def test_numbers_have_an_axis_of_their_own_with_a_zero(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_utilities(tmp_path / f"a{seed}", seed=seed, level=0.5, domain="north")
        write_utilities(tmp_path / f"b{seed}", "fedprox", seed=seed, level=0.4)
    found = figures(tmp_path)
    assert list(found)[:2] == ["local", "worst client"]
    assert texts(found["local"].grid)[:2] == [
        ["method", "mean", "± (95 %)", "each seed"],
        ["fedavg", "\u22120.58", "0.2541", "\u22120.6, \u22120.56"],
    ]
    assert re.search(r">0(\.0+)?<", found["local"].svg), "all are below 0, which is still on the axis"
    assert found["domain north"].about == "True utility on test questions in north."


def test_bars_are_called_accuracies_only_if_they_are(tmp_path: Path) -> None:
    write_run(tmp_path / "a" / "a")
    write_preferences(tmp_path / "b" / "a")
    titles = [block.title for one in "ab" for scene in scenes_of(tmp_path / one) if (block := bars(scene))]
    assert titles == ["Accuracies", "Results as bars"]


def test_several_tasks_have_panels_by_what_they_are_measured_by(tmp_path: Path) -> None:
    write_tasks(tmp_path / "a", level=0.4)
    found = figures(tmp_path)
    assert {title: [line[:2] for line in texts(one.grid)[1:]] for title, one in found.items()} == {
        "skill, before and after": [["skill, before", "\u22120.2"], ["skill, after", "0"],
                                    ["worst task, before", "\u22120.7"], ["worst task, after", "\u22120.5"]],
        "before and after, %": [["shapes, before", "40.0"], ["shapes, after", "50.0"]],
        "error, before and after": [["pictures error, before", "0.6"], ["pictures error, after", "0.5"]],
        "domain shapes, %": [["fedavg", "50.0"]],
    }  # fmt: skip
