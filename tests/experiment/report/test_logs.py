from __future__ import annotations

from pathlib import Path

from synoptic.experiment.report.logs import logged
from synoptic.experiment.report.parts import Block
from written import scenes_of, texts, write_run

RL = {"kl": 0.1, "reward": 0.5, "zero_variance": 0.2, "entropy": 1.5, "server_loss": 2.0}


def shown(folder: Path) -> Block:
    (scene,) = scenes_of(folder)
    block = logged(scene)
    assert block is not None
    return block


def test_whatever_is_logged_has_a_panel_reward_first(tmp_path: Path) -> None:
    write_run(tmp_path / "a", log=RL)
    block = shown(tmp_path)
    assert block.title == "Reinforcement learning and other logged numbers"
    assert [figure.title for figure in block.figures] == ["reward", "kl", "entropy", "zero_variance", "server_loss"]
    assert texts(block.figures[0].grid)[1:3] == [["1", "0.5"], ["2", "0.6"]]


def test_the_loss_alone_is_no_block(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    (scene,) = scenes_of(tmp_path)
    assert logged(scene) is None


def test_other_numbers_are_not_called_reinforcement_learning(tmp_path: Path) -> None:
    write_run(tmp_path / "a", log={"my number": 1.0})
    block = shown(tmp_path)
    assert block.title == "Other logged numbers"
    assert block.figures[0].about == "A number that the method logged as my number."


def test_methods_stand_together_and_absent_ones_are_left_out(tmp_path: Path) -> None:
    write_run(tmp_path / "a", log={"reward": 0.5, "kl": 0.1})
    write_run(tmp_path / "b", "fedprox", log={"reward": 0.4})
    reward, kl = shown(tmp_path).figures
    assert [key.name for key in reward.keys] == ["fedavg", "fedprox"]
    assert [key.name for key in kl.keys] == ["fedavg"]


def test_router_load_has_a_line_for_each_client(tmp_path: Path) -> None:
    write_run(tmp_path / "a", log={f"router/client <{k}>": 0.1 * k for k in range(3)})
    write_run(tmp_path / "b", "fedprox")
    (figure,) = shown(tmp_path).figures
    assert figure.title == "router (fedavg)"
    assert [key.name for key in figure.keys] == ["client <0>", "client <1>", "client <2>"]


def test_the_load_of_many_is_drawn_as_quartiles(tmp_path: Path) -> None:
    write_run(tmp_path / "a", log={f"router/{k}": float(k) for k in range(101)})
    (figure,) = shown(tmp_path).figures
    assert "101 parts" in figure.about
    assert texts(figure.grid)[:2] == [
        ["round", "lowest", "lower quartile", "median", "upper quartile", "highest"],
        ["1", "0", "25", "50", "75", "100"],
    ]


def test_an_unfinished_run_shows_its_own(tmp_path: Path) -> None:
    write_run(tmp_path / "a", log={"reward": 1.0, "router/0": 0.5}, finished=False, done=2)
    assert [figure.title for figure in shown(tmp_path).figures] == ["reward", "router"]
