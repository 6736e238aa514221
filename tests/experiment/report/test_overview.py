from __future__ import annotations

from pathlib import Path

from synoptic.experiment.report.overview import overview
from written import scenes_of, texts, write_run


def test_conditions_stand_side_by_side_and_say_what_differs(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "fedavg", "data.partition.alpha=0.1")
    write_run(tmp_path / "b", "fedavg", "data.partition.alpha=10", level=0.7)
    write_run(tmp_path / "c", "local", "data.partition.alpha=10", models=("personal",))
    block = overview(scenes_of(tmp_path))
    assert block is not None
    results, settings = block.grids
    assert texts(results) == [
        ["method", "data.partition.alpha=0.1", "data.partition.alpha=10.0"],
        ["fedavg", "88.0", "78.0"],
        ["local (personal)", "n/a", "88.0"],
    ]
    assert texts(settings)[1:] == [["data.partition.alpha", "0.1", "10.0"]]
    assert "compare down a column" in block.about[0]


def test_one_condition_needs_no_overview(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    assert overview(scenes_of(tmp_path)) is None


def test_conditions_without_results_still_say_what_differs(tmp_path: Path) -> None:
    write_run(tmp_path / "a", finished=False)
    write_run(tmp_path / "b", "fedavg", "data=world", finished=False)
    block = overview(scenes_of(tmp_path))
    assert block is not None
    (settings,) = block.grids
    assert ["data.source", "digits", "world"] in texts(settings)
