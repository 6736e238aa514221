from __future__ import annotations

from pathlib import Path

import pytest

from synoptic.core import SynopticError
from synoptic.core.files import read_json, write_json, write_text
from synoptic.experiment.report.gather import condition_names, gather, read_claims
from written import write_run


def test_runs_are_found_in_folders_of_any_depth(tmp_path: Path) -> None:
    write_run(tmp_path / "a" / "one", seed=0)
    write_run(tmp_path / "a" / "b" / "two", seed=1)
    write_run(tmp_path / "c", "local", models=("personal",))
    groups = gather([tmp_path]).groups
    assert [(group.label, group.seeds, group.condition) for group in groups] == [
        ("fedavg", (0, 1), ""),
        ("local", (0,), ""),
    ]


def test_the_same_run_by_two_ways_is_one_run(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs" / "one")
    (group,) = gather([folder, tmp_path, folder / ".." / "one"]).groups
    assert len(group.runs) == 1


def test_two_runs_of_one_recipe_and_seed_are_refused(tmp_path: Path) -> None:
    one, two = write_run(tmp_path / "one"), write_run(tmp_path / "two")
    with pytest.raises(SynopticError, match="are the same recipe and seed; give only one of them"):
        gather([one, two])


def test_of_two_runs_that_were_only_found_one_is_kept_and_the_other_told(tmp_path: Path) -> None:
    write_run(tmp_path / "one")
    two = write_run(tmp_path / "two")
    found = gather([tmp_path])
    assert [run.name for run in found.groups[0].runs] == ["one"]
    assert found.left_out == ("two: the same recipe and seed as one.",)
    assert [run.name for run in gather([two, tmp_path]).groups[0].runs] == ["two"], "what was named comes first"


@pytest.mark.parametrize(
    ("name", "sentence"), [("nowhere", "there is no run folder"), ("", "is no run folder and holds none")]
)
def test_a_folder_without_runs_is_an_error(tmp_path: Path, name: str, sentence: str) -> None:
    with pytest.raises(SynopticError, match=sentence):
        gather([tmp_path / name])


def test_a_damaged_run_is_an_error_when_named_and_left_out_when_found(tmp_path: Path) -> None:
    good, bad = write_run(tmp_path / "good"), write_run(tmp_path / "bad", seed=1)
    write_text(bad / "summary.json", '{"metrics": ')
    with pytest.raises(SynopticError, match="is not readable JSON"):
        gather([bad])
    found = gather([tmp_path])
    assert [run.folder.path for group in found.groups for run in group.runs] == [good]
    assert len(found.left_out) == 1
    assert found.left_out[0].startswith("bad/summary.json is not readable JSON"), "not where the folder lies"


def test_a_folder_of_nothing_but_damaged_runs_is_an_error(tmp_path: Path) -> None:
    write_text(write_run(tmp_path / "bad") / "recipe.yaml", "a: [")
    with pytest.raises(SynopticError, match="no run could be read"):
        gather([tmp_path])


@pytest.mark.parametrize("change", [{"metrics": [1]}, {"metrics": {"a": "b"}}, {"bytes": {"up": 1}}, {"rounds": None}])
def test_a_summary_whose_numbers_are_none_is_damaged(tmp_path: Path, change: dict[str, object]) -> None:
    folder = write_run(tmp_path / "run")
    write_json(folder / "summary.json", {**read_json(folder / "summary.json"), **change})
    with pytest.raises(SynopticError, match=r"is not a run's summary; remove the file and go on with: synoptic run"):
        gather([folder])


def test_different_problems_become_conditions(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "fedavg", "data.partition.alpha=0.1")
    write_run(tmp_path / "b", "fedavg", "data.partition.alpha=10")
    write_run(tmp_path / "c", "local", "data.partition.alpha=10", models=("personal",))
    groups = gather([tmp_path]).groups
    assert [(group.label, group.condition) for group in groups] == [
        ("fedavg", "data.partition.alpha=0.1"), ("fedavg", "data.partition.alpha=10.0"),
        ("local", "data.partition.alpha=10.0"),
    ]  # fmt: skip


def test_condition_names_are_as_short_as_they_can_be() -> None:
    settings = [{"data.source": "digits", "data.novel": n, "data.clients": 5} for n in (0.1, 0.2)]
    assert condition_names(settings) == ["data.novel=0.1", "data.novel=0.2"]
    both = [{"data.source": s, "data.novel": n} for s in ("digits", "world") for n in (0.1, 0.2)]
    assert condition_names(both) == ["digits, data.novel=0.1", "digits, data.novel=0.2", "world, data.novel=0.1",
                                     "world, data.novel=0.2"]  # fmt: skip


def test_claims_are_read_from_a_file(tmp_path: Path) -> None:
    row = {"id": "a", "statement": "A is better.", "verdict": "holds"}
    write_json(tmp_path / "claims.json", [row])
    assert read_claims(tmp_path / "claims.json") == (row,)
    with pytest.raises(SynopticError, match="does not exist"):
        read_claims(tmp_path / "none.json")
