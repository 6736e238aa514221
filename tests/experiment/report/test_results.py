from __future__ import annotations

from pathlib import Path

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
