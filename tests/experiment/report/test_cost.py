from __future__ import annotations

from pathlib import Path

from synoptic.experiment.report.cost import cost
from synoptic.experiment.report.parts import Figure
from written import scenes_of, texts, write_run

NOTHING = {"up": 0, "down": 0, "by_kind": {}}


def figures(folder: Path) -> tuple[Figure, Figure]:
    (scene,) = scenes_of(folder)
    block = cost(scene)
    assert block is not None
    traffic, time = block.figures
    return traffic, time


def test_bytes_stand_by_kind_and_direction(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    traffic, _ = figures(tmp_path)
    assert texts(traffic.grid) == [
        ["message kind", "bytes up", "bytes down"],
        ["train.adapter", "900 kB", "800 kB"],
        ["train.loss", "8 B", "0 B"],
        ["train.examples", "8 B", "0 B"],
    ]
    assert "Bar chart of bytes: train.adapter 1.7 MB; 2 small kinds 16 B." in traffic.svg
    assert [key.name for key in traffic.keys] == ["bytes up", "bytes down"]


def test_seeds_are_averaged_and_methods_named(tmp_path: Path) -> None:
    write_run(tmp_path / "a0", bytes={"up": 100, "down": 0, "by_kind": {"train.x": {"up": 100, "down": 0}}})
    write_run(tmp_path / "a1", seed=1, bytes={"up": 300, "down": 0, "by_kind": {"train.x": {"up": 300, "down": 0}}})
    write_run(tmp_path / "z", "zeroshot", rounds=0, bytes=NOTHING)
    traffic, time = figures(tmp_path)
    assert texts(traffic.grid)[1:] == [["fedavg: train.x", "200 B", "0 B"], ["zeroshot: nothing sent", "0 B", "0 B"]]
    assert texts(time.grid) == [
        ["method", "training", "evaluating", "communicating", "seconds"],
        ["fedavg", "2.0 s", "0.9 s", "0.1 s", "3.0 s"],
        ["zeroshot", "2.0 s", "0.9 s", "0.1 s", "3.0 s"],
    ]


def test_nothing_sent_and_no_time_can_be_drawn(tmp_path: Path) -> None:
    write_run(tmp_path / "z", "zeroshot", rounds=0, bytes=NOTHING, seconds={"total": 0.0})
    traffic, time = figures(tmp_path)
    assert texts(traffic.grid)[1:] == [["nothing sent", "0 B", "0 B"]]
    assert texts(time.grid)[1:] == [["zeroshot", "0.0 s", "0.0 s", "0.0 s", "0.0 s"]]


def test_nothing_finished_costs_nothing_yet(tmp_path: Path) -> None:
    write_run(tmp_path / "a", finished=False)
    (scene,) = scenes_of(tmp_path)
    assert cost(scene) is None
