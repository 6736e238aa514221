from __future__ import annotations

from pathlib import Path

import pytest

from measured import write_tasks, write_utilities
from synoptic.core.files import read_json, write_json
from synoptic.experiment.report.clients import heat_map
from synoptic.experiment.report.parts import Block
from written import scenes_of, texts, write_run

ODD = "ward <3> & \"β\" '好'"


def shown(folder: Path) -> Block:
    (scene,) = scenes_of(folder)
    block = heat_map(scene)
    assert block is not None
    return block


def test_every_client_has_a_row_and_every_model_a_column(tmp_path: Path) -> None:
    write_run(tmp_path / "a", models=("shared", "personal"))
    write_run(tmp_path / "b", "fedprox", level=0.5)
    (grid,) = shown(tmp_path).grids
    assert texts(grid) == [
        ["client", "examples", "fedavg (shared)", "fedavg (personal)", "fedprox"],
        ["client-0", "10", "90.0", "92.0", "60.0"],
        ["client-1", "11", "85.0", "87.0", "55.0"],
        ["client-2", "12", "80.0", "82.0", "50.0"],
    ]
    assert grid.scale == ("50.0 %", "92.0 %")
    assert [cell.level for cell in grid.rows[0][2:]] == [8, 8, 2]
    assert grid.rows[2][4].level == 0


def test_one_method_is_shown_before_and_after(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    assert texts(shown(tmp_path).grids[0])[:2] == [
        ["client", "examples", "before", "after"], ["client-0", "10", "80.0", "90.0"]
    ]  # fmt: skip


def test_a_client_that_a_method_did_not_measure_has_no_value(tmp_path: Path) -> None:
    write_run(tmp_path / "a", clients={ODD: {"examples": 3, "shared/local/accuracy": 0.5}})
    write_run(tmp_path / "b", "fedprox", clients={"other": {"shared/local/accuracy": 0.6}})
    (grid,) = shown(tmp_path).grids
    assert texts(grid)[1:] == [[ODD, "3", "50.0", "n/a"], ["other", "n/a", "n/a", "60.0"]]
    assert grid.rows[0][3].absent


def test_all_alike_has_one_colour(tmp_path: Path) -> None:
    write_run(tmp_path / "a", gain=0, clients={"x": {"shared/local/accuracy": 0.8}})
    write_run(tmp_path / "b", "fedprox", gain=0, clients={"x": {"shared/local/accuracy": 0.8}})
    assert [cell.level for cell in shown(tmp_path).grids[0].rows[0][2:]] == [8, 8]


def test_a_thousand_clients_are_shown_as_quantiles(tmp_path: Path) -> None:
    clients = {f"c{k}": {"examples": 1.0, "shared/local/accuracy": k / 1000} for k in range(1001)}
    write_run(tmp_path / "a", clients=clients)
    write_run(tmp_path / "b", "fedprox", clients=clients)
    block = shown(tmp_path)
    (grid,) = block.grids
    assert len(grid.rows) == 9
    assert texts(grid)[1] == ["lowest client", "0.0", "0.0"]
    assert texts(grid)[5] == ["50 % quantile (median)", "50.0", "50.0"]
    assert "1,001 clients: every column has its own quantiles" in block.about[0]
    assert block.notes == ("At most 1,000 clients were asked to evaluate (evaluate.clients), drawn once for each run.",)


@pytest.mark.parametrize("clients", [{}, {"x": {"examples": 3.0}}, {"x": {"shared/local/accuracy": float("nan")}}])
def test_without_any_accuracy_there_is_no_heat_map(tmp_path: Path, clients: dict[str, dict[str, float]]) -> None:
    folder = write_run(tmp_path / "a", clients=clients)
    write_run(tmp_path / "b", "fedprox", clients=clients)
    (scene,) = scenes_of(tmp_path)
    assert heat_map(scene) is None
    summary = read_json(folder / "summary.json")
    del summary["clients"]
    write_json(folder / "summary.json", summary)
    (scene,) = scenes_of(tmp_path)
    assert heat_map(scene) is None


def test_utilities_are_shown_where_they_are_known(tmp_path: Path) -> None:
    write_utilities(tmp_path / "a", level=0.6)
    block = shown(tmp_path)
    assert block.about[0].startswith("True utility on each client's own test data after the last round, seed 0.")
    assert texts(block.grids[0])[:2] == [
        ["client", "examples", "before", "after"], ["client-0", "10", "\u22120.60", "\u22120.20"]
    ]  # fmt: skip
    assert block.grids[0].scale == ("\u22121.00", "\u22120.20")


def test_clients_with_different_tasks_stand_in_no_common_map(tmp_path: Path) -> None:
    write_tasks(tmp_path / "a")
    (scene,) = scenes_of(tmp_path)
    assert heat_map(scene) is None
