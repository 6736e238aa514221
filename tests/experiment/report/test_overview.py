from __future__ import annotations

from pathlib import Path

from measured import write_tasks, write_utilities
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


def test_the_measure_has_its_own_name(tmp_path: Path) -> None:
    write_tasks(tmp_path / "t" / "a", "fedavg", "data.tasks.draw=1")
    write_tasks(tmp_path / "t" / "b", "fedavg", "data.tasks.draw=2", level=0.3)
    block = overview(scenes_of(tmp_path / "t"))
    assert block is not None
    assert block.about[0].startswith("Skill, mean over tasks. ")
    assert block.grids[0].caption.startswith("Skills (0 without looking at the input, 1 if perfect), mean and half")
    assert texts(block.grids[0])[1] == ["fedavg", "0.8", "\u22120.2"]
    write_utilities(tmp_path / "u" / "a", "fedavg", "data.questions.draw=1")
    write_utilities(tmp_path / "u" / "b", "fedavg", "data.questions.draw=2")
    block = overview(scenes_of(tmp_path / "u"))
    assert block is not None
    assert block.about[0].startswith("True utility on clients' own test questions. ")


def test_skills_and_accuracies_do_not_share_a_table(tmp_path: Path) -> None:
    for place in "ab":
        write_tasks(tmp_path / place, "fedavg", f"data.tasks.draw={ord(place)}")
    write_run(tmp_path / "c")
    block = overview(scenes_of(tmp_path))
    assert block is not None
    assert texts(block.grids[0])[1][1:] == ["0.8", "0.8", "n/a"]
