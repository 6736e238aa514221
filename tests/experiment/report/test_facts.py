from __future__ import annotations

import json
from pathlib import Path

from synoptic.experiment.report.facts import facts, words_about
from synoptic.experiment.report.parts import Block
from written import scenes_of, texts, write_run


def shown(folder: Path) -> Block:
    (scene,) = scenes_of(folder)
    return facts(scene)


def test_what_was_run_is_named(tmp_path: Path) -> None:
    write_run(tmp_path / "a0", "fedavg", "data.partition.alpha=0.3")
    write_run(tmp_path / "a1", "fedavg", "data.partition.alpha=0.3", seed=1)
    block = shown(tmp_path)
    assert dict(row for row in texts(block.grids[0])[1:]) == {
        "data": "digits, partition dirichlet (alpha 0.3)", "clients": "3 clients", "rounds": "4", "seeds": "0, 1",
        "base model": "tiny-clip, fingerprint 0123456789abcdef",
        "made with": "Python 3.11, synoptic 0.1.0, torch 2.13; 1 thread",
    }  # fmt: skip
    assert [row[0] for row in texts(block.folds[0].grid)[1:]] == ["a0", "a1"]


def test_the_whole_recipe_is_there_without_places(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "fedavg", "data=folder:/somebody/private/photos", "compute.cache_dir=/somebody/cache")
    settings = dict(row for row in texts(shown(tmp_path).folds[1].grid)[1:])
    assert settings["data.path"] == "photos"
    assert settings["train.lr"] == "0.001"
    assert settings["adapter.vision.lora.targets"] == "q, k, v"
    assert settings["train.steps"] == "none"
    assert not any("somebody" in value for value in settings.values())
    assert not {"output", "seed", "compute.cache_dir"} & settings.keys()


def test_settings_that_differ_are_pointed_out(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "fedprox", "train.lr=0.5")
    write_run(tmp_path / "b", "promptfl")
    differing = texts(shown(tmp_path).grids[1])
    assert differing[0] == ["setting", "fedprox", "promptfl"]
    assert ["train.lr", "0.5", "0.01"] in differing
    assert ["method.mu", "0.01", "\u2013"] in differing
    assert "data.source" not in [row[0] for row in differing]


def test_failures_of_clients_are_not_hidden(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a")
    with (folder / "events.jsonl").open("a", encoding="utf-8") as file:
        for kind in ("failure", "failure", "round_failed"):
            file.write(json.dumps({"type": kind, "round": 0}) + "\n")
    assert shown(tmp_path).notes == (
        "fedavg, seed 0: clients failed 2 times in 4 rounds, and 1 round changed nothing.",
    )


def test_one_line_about_all(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", "local", models=("personal",), seed=1)
    (scene,) = scenes_of(tmp_path)
    assert words_about(scene.groups) == "2 methods on digits · tiny-clip · 2 seeds"
    write_run(tmp_path / "c", "fedavg", "train.lr=0.1")
    (scene,) = scenes_of(tmp_path)
    assert words_about(scene.groups) == "2 methods in 3 settings on digits · tiny-clip · 2 seeds"
    (scene,) = scenes_of(tmp_path / "a")
    assert words_about(scene.groups[:1]) == "fedavg on digits · tiny-clip · 1 seed"


def test_a_run_that_is_not_finished_says_how_far_it_is(tmp_path: Path) -> None:
    write_run(tmp_path / "a", finished=False, done=3)
    assert texts(shown(tmp_path).folds[0].grid)[1][-1] == "stopped after 3 of 4"
