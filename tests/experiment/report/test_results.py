from __future__ import annotations

from pathlib import Path

from measured import write_preferences, write_tasks, write_utilities
from synoptic.experiment.report.results import results, so_far
from written import scenes_of, texts, write_run


def test_every_model_has_a_row_and_what_does_not_apply_says_so(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        write_run(tmp_path / f"a{seed}", level=0.6, seed=seed)
        personal = {"personal/local/accuracy/mean": 0.9 + 0.01 * seed}
        write_run(tmp_path / f"b{seed}", "local", models=("personal",), seed=seed, metrics=personal)
    (scene,) = scenes_of(tmp_path)
    block = results(scene)
    assert block is not None
    head, shared, personal_row = texts(block.grids[0])
    assert head[:4] == ["method", "local\u00a0%", "worst client\u00a0%", "base\u00a0%"]
    assert shared[:2] == ["fedavg (baseline)", "71.0 ± 2.5"]
    assert personal_row[:4] == ["local (personal)", "91.0 ± 2.5", "n/a", "n/a"]
    cell = block.grids[0].rows[1][1]
    assert (cell.note, cell.strong) == ("▲ +20.0 ± 0.0", True)
    assert all(cell.absent for cell in block.grids[0].rows[1][2:6]), "never as zero"


def test_a_difference_that_is_not_decided_has_no_arrow(tmp_path: Path) -> None:
    for seed, more in enumerate((0.05, -0.04, -0.02)):
        write_run(tmp_path / f"a{seed}", level=0.6, seed=seed)
        write_run(tmp_path / f"b{seed}", "fedprox", level=0.6 + more, seed=seed)
    (scene,) = scenes_of(tmp_path)
    block = results(scene)
    assert block is not None
    assert block.grids[0].rows[1][1].note == "\u22120.3 ± 11.7"


def test_one_seed_claims_no_interval(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", "fedprox", level=0.7)
    (scene,) = scenes_of(tmp_path)
    block = results(scene)
    assert block is not None
    assert texts(block.grids[0])[1][1] == "90.0"
    assert block.grids[0].rows[1][1].note == "\u221210.0"
    assert "no interval can be given" in block.grids[0].caption


def test_one_method_is_shown_before_and_after(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path / f"a{seed}", seed=seed)
    (scene,) = scenes_of(tmp_path)
    block = results(scene)
    assert block is not None
    table = texts(block.grids[0])
    assert table[:2] == [
        ["measure", "before", "after", "change"],
        ["local %", "80.5 ± 6.4", "90.5 ± 6.4", "+10.0 ± 0.0"],
    ]
    assert block.notes == ("Cost, mean over 2 seeds: bytes 1.7 MB, local steps 40, seconds 3.0 s.",)


def test_a_method_with_both_models_has_a_table_for_each(tmp_path: Path) -> None:
    write_run(tmp_path / "a", models=("shared", "personal"))
    (scene,) = scenes_of(tmp_path)
    block = results(scene)
    assert block is not None
    assert [grid.caption.split(".")[0] for grid in block.grids] == ["The shared model", "The personal model"]


def test_zero_rounds_show_what_there_was(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "zeroshot", rounds=0, gain=0)
    (scene,) = scenes_of(tmp_path)
    block = results(scene)
    assert block is not None
    assert texts(block.grids[0])[:2] == [["measure", "before"], ["local %", "80.0"]]
    assert block.grids[0].caption.endswith("Nothing was trained.")


def test_a_run_that_is_not_finished_shows_how_far_it_came(tmp_path: Path) -> None:
    write_run(tmp_path / "a", finished=False, done=2)
    (scene,) = scenes_of(tmp_path)
    assert results(scene) is None
    block = so_far(scene)
    assert block is not None
    table = texts(block.grids[0])
    assert table[0] == ["measure", "before", "so far", "after round"]
    assert ["base %", "81.0", "86.0", "2"] in table


def test_a_run_without_any_measure_shows_nothing(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", finished=False, done=0)
    (folder / "events.jsonl").unlink()
    (scene,) = scenes_of(tmp_path)
    assert so_far(scene) is None


def test_diverged_numbers_are_named(tmp_path: Path) -> None:
    write_run(tmp_path / "a", metrics={"shared/base/accuracy/mean": float("nan")})
    write_run(tmp_path / "b", "fedprox")
    (scene,) = scenes_of(tmp_path)
    block = results(scene)
    assert block is not None
    assert "not a number" in texts(block.grids[0])[1]


def test_utilities_are_shown_before_and_after_and_are_no_cost(tmp_path: Path) -> None:
    write_utilities(tmp_path / "a", level=0.6)
    (scene,) = scenes_of(tmp_path)
    block = results(scene)
    assert block is not None
    assert texts(block.grids[0])[:2] == [
        ["measure", "before", "after", "change"], ["local", "\u22120.6", "\u22120.2", "+0.4000"]
    ]  # fmt: skip
    assert block.grids[0].caption == "True utilities, of one seed: no interval can be given."
    assert block.notes == ("Cost: bytes 1.7 MB, local steps 40, seconds 3.0 s.",)


def test_captions_say_what_is_in_per_cent(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_preferences(tmp_path / f"a{seed}", seed=seed)
        write_preferences(tmp_path / f"b{seed}", "fedprox", seed=seed)
    (scene,) = scenes_of(tmp_path)
    block = results(scene)
    assert block is not None
    assert block.grids[0].head[1] == "local\u00a0%"
    assert block.grids[0].caption.startswith("Pairs in the right order in per cent: mean over 2 seeds")


def test_every_task_has_a_row(tmp_path: Path) -> None:
    write_tasks(tmp_path / "a", level=0.4, models=("shared", "personal"))
    (scene,) = scenes_of(tmp_path)
    block = results(scene)
    assert block is not None
    for grid in block.grids:
        assert texts(grid)[1:] == [
            ["skill", "\u22120.2", "0", "+0.2000"],
            ["worst task", "\u22120.7", "\u22120.5", "+0.2000"],
            ["shapes %", "40.0", "50.0", "+10.0"],
            ["pictures error", "0.6", "0.5", "\u22120.1000"],
        ]
    assert "mean squared errors (lower is better)" in block.grids[1].caption
    assert "skill" not in block.notes[0]


def test_methods_are_compared_task_by_task(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        write_tasks(tmp_path / f"a{seed}", seed=seed)
        write_tasks(tmp_path / f"b{seed}", "fedprox", level=0.7, seed=seed)
    (scene,) = scenes_of(tmp_path)
    block = results(scene)
    assert block is not None
    assert texts(block.grids[0])[0][:3] == ["method", "skill", "worst task"]
    tasks = block.grids[1]
    assert texts(tasks) == [
        ["method", "shapes\u00a0%", "pictures error"],
        ["fedavg (baseline)", "91.0 ± 2.5", "0.090 ± 0.025"],
        ["fedprox", "81.0 ± 2.5", "0.190 ± 0.025"],
    ]
    assert [cell.strong for cell in tasks.rows[0][1:]] == [True, True], "of an error less is better"
    assert [cell.note[0] for cell in tasks.rows[1][1:]] == ["▼", "▼"]
    assert tasks.caption.startswith("By task, on own test data")


def test_what_is_no_accuracy_shows_how_far_it_came(tmp_path: Path) -> None:
    write_tasks(tmp_path / "a", level=0.4, finished=False, done=2)
    (scene,) = scenes_of(tmp_path)
    block = so_far(scene)
    assert block is not None
    table = texts(block.grids[0])
    assert ["skill", "\u22120.2", "\u22120.1", "2"] in table
    assert ["shapes %", "40.0", "45.0", "2"] in table
