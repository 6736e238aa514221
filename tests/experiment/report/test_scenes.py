from __future__ import annotations

from pathlib import Path

import pytest

from synoptic.core import SynopticError
from synoptic.experiment.report.scene import first_runs
from written import scenes_of, write_run


def test_models_have_a_number_each_whatever_the_condition(tmp_path: Path) -> None:
    write_run(tmp_path / "a", models=("shared", "personal"))
    write_run(tmp_path / "b", "local", models=("personal",))
    write_run(tmp_path / "c", "local", "data=world", models=("personal",))
    one, two = scenes_of(tmp_path)
    assert [(series.name, series.number) for series in one.series] == [
        ("fedavg (shared)", 0), ("fedavg (personal)", 1), ("local (personal)", 2)
    ]  # fmt: skip
    assert one.series == two.series
    assert [series.name for group in two.groups for series in two.of(group)] == ["local (personal)"]


def test_unfinished_runs_stay_out_of_the_table(tmp_path: Path) -> None:
    write_run(tmp_path / "a0")
    write_run(tmp_path / "a1", seed=1, done=2, finished=False)
    write_run(tmp_path / "b", "local", models=("personal",), done=1, finished=False)
    (scene,) = scenes_of(tmp_path)
    assert scene.table is not None
    assert [(row.label, row.seeds) for row in scene.table.rows] == [("fedavg", (0,))]
    assert [len(group.runs) for group in scene.groups] == [2, 1]


def test_without_a_finished_run_there_is_no_table(tmp_path: Path) -> None:
    write_run(tmp_path / "a", finished=False, done=0)
    (scene,) = scenes_of(tmp_path)
    assert scene.table is None


def test_a_metric_that_nobody_has_is_refused_and_the_nearest_named(tmp_path: Path) -> None:
    write_run(tmp_path / "a", domain="pastel")
    with pytest.raises(SynopticError, match=r"no run has a metric 'domain/pastl/accuracy/mean'; did you mean"):
        scenes_of(tmp_path, metrics=["domain/pastl/accuracy/mean"])


@pytest.mark.parametrize("metric", ["domain/pastel/accuracy/mean", "shared/domain/pastel/accuracy/mean"])
def test_a_metric_of_one_condition_is_no_error_in_the_other(tmp_path: Path, metric: str) -> None:
    write_run(tmp_path / "a", domain="pastel")
    write_run(tmp_path / "b", "fedavg", "data=world")
    one, two = scenes_of(tmp_path, metrics=[metric])
    assert one.table is not None
    assert two.table is not None
    assert metric in [column.name for column in one.table.columns]
    assert metric not in [column.name for column in two.table.columns]


def test_a_metric_of_a_run_that_is_not_finished_is_known(tmp_path: Path) -> None:
    write_run(tmp_path / "a", domain="pastel", finished=False)
    (scene,) = scenes_of(tmp_path, metrics=["domain/pastel/accuracy/mean"])
    assert scene.metrics == ("domain/pastel/accuracy/mean",)


def test_a_baseline_must_be_there(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", "local", models=("personal",), finished=False)
    with pytest.raises(SynopticError, match="the baseline 'locl' is not among the compared; did you mean 'local'"):
        scenes_of(tmp_path, baseline="locl")
    (scene,) = scenes_of(tmp_path, baseline="local")
    assert scene.baseline == "fedavg", "a baseline without a finished run cannot be one"


def test_one_run_of_each_is_of_a_seed_that_all_have(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        write_run(tmp_path / f"a{seed}", seed=seed)
    for seed in (1, 2):
        write_run(tmp_path / f"b{seed}", "fedprox", seed=seed)
    (scene,) = scenes_of(tmp_path)
    assert {label: run.seed for label, run in first_runs(scene.finished).items()} == {"fedavg": 1, "fedprox": 1}
    write_run(tmp_path / "c", "local", models=("personal",), seed=7)
    (scene,) = scenes_of(tmp_path)
    assert {label: run.seed for label, run in first_runs(scene.finished).items()} == {
        "fedavg": 0,
        "fedprox": 1,
        "local": 7,
    }
