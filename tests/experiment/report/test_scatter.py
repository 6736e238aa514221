from __future__ import annotations

from pathlib import Path

from measured import write_tasks, write_utilities
from synoptic.experiment.report.parts import Block
from synoptic.experiment.report.scatter import scatter
from written import scenes_of, texts, write_run


def shown(folder: Path) -> Block:
    (scene,) = scenes_of(folder)
    block = scatter(scene)
    assert block is not None
    return block


def accuracies(model: str, *values: float) -> dict[str, dict[str, float]]:
    return {f"c{k}": {f"{model}/local/accuracy": value} for k, value in enumerate(values)}


def test_a_method_with_both_models_is_held_against_itself(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path / f"a{seed}", models=("shared", "personal"), seed=seed)
    (figure,) = shown(tmp_path).figures
    assert figure.about.endswith("fedavg: personal better for 6 of 6.")
    assert len(figure.grid.rows) == 6
    assert texts(figure.grid)[1] == ["client-0, seed 0, fedavg", "90.0", "92.0"]
    assert [(key.name, key.dots) for key in figure.keys] == [("fedavg", True)]


def test_a_personal_only_method_is_held_against_a_trained_shared_one(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "zeroshot", rounds=0, clients=accuracies("shared", 0.1, 0.1, 0.1))
    write_run(tmp_path / "b", "fedavg", clients=accuracies("shared", 0.5, 0.6, 0.9))
    write_run(tmp_path / "c", "local", models=("personal",), clients=accuracies("personal", 0.7, 0.6, 0.8))
    (figure,) = shown(tmp_path).figures
    assert figure.about.endswith("local against fedavg: personal better for 1 of 3, equal for 1.")


def test_runs_of_other_seeds_are_not_held_against_each_other(tmp_path: Path) -> None:
    write_run(tmp_path / "b", "fedavg", seed=1)
    write_run(tmp_path / "c", "local", models=("personal",), seed=0)
    assert shown(tmp_path).figures == ()
    assert "no shared model of the same data and seeds" in shown(tmp_path).about[0]


def test_without_personal_models_it_does_not_apply(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    assert shown(tmp_path) == Block("Personal against shared", ("Not applicable: no method here has personal models.",))


def test_of_very_many_clients_some_are_drawn(tmp_path: Path) -> None:
    clients = {f"c{k}": {"shared/local/accuracy": k / 5000, "personal/local/accuracy": 0.5} for k in range(5000)}
    write_run(tmp_path / "a", models=("shared", "personal"), clients=clients)
    (figure,) = shown(tmp_path).figures
    assert "2,000 of 5,000 dots are drawn" in figure.about
    assert figure.svg.count("<use") == 2000
    assert len(figure.grid.rows) == 60


def test_nothing_finished_has_no_block(tmp_path: Path) -> None:
    write_run(tmp_path / "a", finished=False)
    (scene,) = scenes_of(tmp_path)
    assert scatter(scene) is None


def test_utilities_are_held_against_each_other(tmp_path: Path) -> None:
    write_utilities(tmp_path / "a", level=0.6, models=("shared", "personal"))
    (figure,) = shown(tmp_path).figures
    assert (figure.title, figure.grid.caption) == ("personal against shared", "True utility.")
    assert "the true utility of the shared model" in figure.about
    assert texts(figure.grid)[1] == ["client-0, seed 0, fedavg", "\u22120.20", "\u22120.12"]
    assert "%" not in figure.svg


def test_different_tasks_are_said_to_be_no_pairs(tmp_path: Path) -> None:
    write_tasks(tmp_path / "a", models=("shared", "personal"))
    why = "Clients have different tasks, whose results cannot be compared."
    assert shown(tmp_path) == Block("Personal against shared", (why,))
