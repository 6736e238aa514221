from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from synoptic.core import SynopticError
from synoptic.experiment.comparison.groups import Group, differences, group, same_problem
from synoptic.experiment.comparison.table import Table, by_task, tabulate
from synoptic.experiment.comparison.text import as_csv, as_json, cell_text, difference_text, is_clear, markdown
from synoptic.experiment.folder import RunFolder
from synoptic.experiment.records import RunRecord


def record(method: str = "fedavg", seed: int = 0, base: float = 0.5, model: str = "shared", **more: Any) -> RunRecord:
    """A finished run, made by hand."""
    recipe = {
        "method": {"name": method, **more.get("own", {})}, "model": "tiny-clip", "seed": seed, "rounds": 3,
        "data": {"source": "world", "partition": {"kind": more.get("partition", "iid")}},
        "train": {"lr": more.get("lr", 0.1)}, "output": f"somewhere/{seed}",
    }  # fmt: skip
    summary = {
        "method": method, "seed": seed, "recipe_hash": "0", "rounds": 3,
        "metrics": {f"{model}/base/accuracy/mean": base, **more.get("metrics", {})},
        "bytes": {"up": 10, "down": 20}, "seconds": {"total": 1.0},
        "work": {"steps": more.get("steps", 100.0), **more.get("work", {})},
        "environment": {
            "packages": {"synoptic": more.get("version", "1")}, "threads": 1, "load": more.get("load", 1.0),
        },
        "model": {"fingerprint": more.get("base_print", "f")},
    }  # fmt: skip
    name = f"{method}-{seed}-{base}"
    return RunRecord(RunFolder(Path(name)), recipe, "finished", summary)


def runs(label: str, values: list[float], **more: Any) -> Group:
    return Group(label, tuple(record(label, seed, value, **more) for seed, value in enumerate(values)))


def row(table: Table, label: str) -> Any:
    return next(row for row in table.rows if row.label == label)


def test_seeds_of_one_recipe_stand_together() -> None:
    groups = group([record(seed=1), record("local"), record(seed=0), record(method="fedavg", lr=0.3)])
    assert [(one.label, one.seeds) for one in groups] == [
        ("fedavg train.lr=0.1", (0, 1)), ("local", (0,)), ("fedavg train.lr=0.3", (0,)),
    ]  # fmt: skip


def test_a_methods_own_settings_tell_its_groups_apart() -> None:
    one, two = record("fedprox", own={"mu": 0.1}), record("fedprox", own={"mu": 1.0})
    assert [found.label for found in group([one, two])] == ["fedprox method.mu=0.1", "fedprox method.mu=1.0"]


def test_the_same_run_twice_is_refused() -> None:
    with pytest.raises(SynopticError, match="same recipe and seed; give only one"):
        group([record(base=0.1), record(base=0.2)])


def test_what_differs_is_said_and_other_problems_are_not_paired() -> None:
    one, two = group([record("fedavg"), record("local", partition="dirichlet", lr=0.5)])
    assert differences([one, two]) == {"data.partition.kind": ["iid", "dirichlet"], "train.lr": [0.1, 0.5]}
    assert not same_problem(one, two)
    table = tabulate([one, two])
    assert not row(table, "local").against
    assert any("not the same problem, and such runs are not paired (fedavg: iid, local: dirichlet)" in note
               for note in table.notes)  # fmt: skip
    assert any(note.startswith("train.lr differs") for note in table.notes)


def test_means_intervals_and_paired_differences() -> None:
    table = tabulate([runs("fedavg", [0.5, 0.6, 0.7]), runs("fedprox", [0.6, 0.7, 0.8])])
    base = next(column for column in table.columns if column.name == "base")
    cell, apart = row(table, "fedprox").cells["base"], row(table, "fedprox").against["base"]
    assert cell.mean == pytest.approx(0.7)
    assert cell_text(base, cell) == "70.0 ± 24.8"
    assert difference_text(base, apart) == "+10.0 ± 0.0 (3-0)"
    assert is_clear(apart)
    assert row(table, "fedavg").is_baseline
    assert not row(table, "fedavg").against


def test_what_does_not_apply_is_absent_never_zero() -> None:
    both = {"metrics": {"personal/base/accuracy/mean": 0.9}}
    table = tabulate([runs("fedavg", [0.5, 0.6]), runs("fedvlm", [0.4, 0.4], **both)])
    assert [(one.label, one.model) for one in table.rows] == [
        ("fedavg", "shared"), ("fedvlm", "shared"), ("fedvlm", "personal"),
    ]  # fmt: skip
    novel = runs("other", [0.4, 0.4], metrics={"shared/novel/accuracy/mean": 0.3})
    table = tabulate([runs("fedavg", [0.5, 0.6]), novel])
    assert "novel" not in row(table, "fedavg").cells
    assert "n/a" in markdown(table)
    assert "| 0.0 |" not in markdown(table)


def test_a_personal_model_is_compared_with_the_one_that_the_baseline_has() -> None:
    table = tabulate([runs("fedavg", [0.5, 0.6]), runs("local", [0.9, 0.9], model="personal")])
    assert row(table, "local").against["base"].estimate.mean == pytest.approx(0.35)
    assert any("else with the one that the baseline has" in note for note in table.notes)
    assert "local (personal)" in markdown(table)


def test_compute_is_told() -> None:
    equal = tabulate([runs("zeroshot", [0.1], steps=0.0), runs("fedavg", [0.5]), runs("local", [0.5])])
    assert "Local compute: 100 optimiser steps, all clients together, except zeroshot 0." in equal.notes
    even = tabulate([runs("fedavg", [0.5]), runs("local", [0.5], steps=101.0)])
    assert any(note.startswith("Equal local compute: 101") for note in even.notes)
    odd = tabulate([runs("fedavg", [0.5]), runs("local", [0.5], steps=150.0, work={"server_steps": 7.0})])
    assert "Optimiser steps on the server besides: local 7." in odd.notes
    assert any("except fedavg 100" in note for note in odd.notes)


def test_only_seeds_that_both_have_are_paired() -> None:
    table = tabulate([runs("fedavg", [0.5, 0.6, 0.7]), runs("fedprox", [0.6, 0.7])])
    assert row(table, "fedprox").against["base"].wins == 2
    assert any("Not all have the same seeds" in note for note in table.notes)


def test_versions_are_told() -> None:
    table = tabulate([runs("fedavg", [0.5]), runs("local", [0.5], version="2")])
    assert any("different versions of Synoptic (1, 2)" in note for note in table.notes)


def test_other_bases_are_told_and_not_paired() -> None:
    table = tabulate([runs("fedavg", [0.5, 0.6]), runs("local", [0.6, 0.7], base_print="g")])
    assert not row(table, "local").against
    assert any("different bases and are not paired across them (fingerprints f, g)" in note for note in table.notes)


def test_what_is_trained_is_told_where_it_differs() -> None:
    lora = {"vision": {"lora": {"rank": 4, "layers": 2}, "head": None}, "text": "frozen"}
    one, two = record("fedavg"), record("promptfl")
    one.recipe["adapter"], two.recipe["adapter"] = lora, {"vision": "frozen", "text": {"prompt": {"length": 4}}}
    notes = tabulate(group([one, two])).notes
    assert "What is trained differs (fedavg: vision LoRA of rank 4 in 2 blocks, promptfl: text prompt)." in notes


def test_a_measure_of_one_model_stands_in_its_row_only() -> None:
    both = {"metrics": {"personal/base/accuracy/mean": 0.9}}
    table = tabulate([runs("fedvlm", [0.4, 0.5], **both)], metrics=["shared/base/accuracy/mean"])
    shared, personal = table.rows
    assert shared.cells["shared/base/accuracy/mean"].mean == pytest.approx(0.45)
    assert "shared/base/accuracy/mean" not in personal.cells


def test_work_that_nobody_counted_is_said() -> None:
    table = tabulate([runs("fedavg", [0.5], steps=0.0)])
    assert "Local compute was not recorded by the version that made these runs." in table.notes


def test_a_busy_machine_is_told() -> None:
    assert not any("too long" in note for note in tabulate([runs("fedavg", [0.5])]).notes)
    busy = tabulate([runs("fedavg", [0.5]), runs("local", [0.5], load=3.2)])
    assert any("load was up to 2.2 above their own threads" in note for note in busy.notes)


def test_further_columns_and_unknown_ones() -> None:
    some = [runs("fedavg", [0.5, 0.6], metrics={"shared/domain/pastel/accuracy/mean": 0.25})]
    table = tabulate(some, metrics=["domain/pastel/accuracy/mean"])
    assert row(table, "fedavg").cells["domain/pastel/accuracy/mean"].mean == 0.25
    with pytest.raises(SynopticError, match="no run has a metric 'shared/bas/accuracy/mean'; did you mean"):
        tabulate(some, metrics=["shared/bas/accuracy/mean"])
    with pytest.raises(SynopticError, match=r"baseline 'fedav' .*did you mean 'fedavg'\?"):
        tabulate(some, "fedav")


def test_the_files_say_what_the_table_says() -> None:
    table = tabulate([runs("fedavg", [0.5, 0.6]), runs("fedprox", [0.6, 0.8])])
    lines = list(csv.DictReader(as_csv([table]).splitlines()))
    line = next(one for one in lines if one["method"] == "fedprox" and one["measure"] == "base/accuracy/mean")
    assert float(line["mean"]) == pytest.approx(0.7)
    assert float(line["difference"]) == pytest.approx(0.15)
    assert (line["wins"], line["losses"]) == ("2", "0")
    assert "NaN" not in json.dumps(as_json([tabulate([runs("fedavg", [0.5])])])), "one seed has no interval"
    (told,) = as_json([table])
    assert told["rows"][1]["cells"]["base"]["values"] == [0.6, 0.8]


def test_columns_are_about_the_best_that_is_known_of_a_model() -> None:
    """A true utility says more than exact answers; of reward models there are only pairs in the right order."""
    for quantity, kind in (("utility", "number"), ("preference", "share")):
        some = {f"shared/local/{quantity}/mean": 0.7, f"shared/local/{quantity}/worst": -0.2}
        more = some | ({"shared/local/accuracy/mean": 0.01} if quantity == "utility" else {})
        one = record(metrics=more)
        if quantity == "preference":
            del one.summary["metrics"]["shared/base/accuracy/mean"]
        table = tabulate(group([one]))
        shown = {column.name: (column.measure, column.kind) for column in table.columns if column.of_model}
        assert shown == {"local": (f"local/{quantity}/mean", kind), "worst client": (f"local/{quantity}/worst", kind)}


def test_tasks_have_columns_of_their_own_and_of_errors_less_is_better() -> None:
    def one(method: str, error: float) -> Group:
        tasks = {"shared/local/shapes/accuracy/mean": 0.5, "shared/local/shapes/accuracy/worst": 0.2,
                 "shared/local/pictures/error/mean": error, "shared/local/skill/mean": 0.3,
                 "shared/domain/pictures/error/mean": error / 2, "shared/domain/pastel/accuracy/mean": 0.9}  # fmt: skip
        return Group(method, tuple(record(method, seed, metrics=tasks) for seed in (0, 1)))

    groups = [one("fedavg", 0.4), one("tap", 0.1)]
    table = by_task(groups, "fedavg")
    assert table is not None
    assert [(column.name, column.kind, column.quantity) for column in table.columns] == [
        ("shapes", "share", "accuracy"), ("pictures error", "number", "error")
    ]  # fmt: skip
    assert row(table, "tap").against["pictures error"].wins == 2
    everybody = by_task(groups, "fedavg", "domain")
    assert everybody is not None
    assert [column.measure for column in everybody.columns] == ["domain/pictures/error/mean"]
    assert (table.title, everybody.title) == ("On own test data", "On all clients' test data")
    assert by_task([runs("fedavg", [0.5])], "fedavg") is None
    asked = tabulate(groups, metrics=["local/pictures/error/mean"])
    assert row(asked, "tap").against["local/pictures/error/mean"].wins == 2


def test_a_preference_that_was_asked_for_is_a_share() -> None:
    table = tabulate(group([record(metrics={"shared/local/preference/mean": 0.7})]), metrics=["local/preference/mean"])
    column = table.columns[-4] if table.columns[-1].name == "seconds" else table.columns[-1]
    assert (column.name, column.kind) == ("local/preference/mean", "share")


def test_results_are_told_from_costs() -> None:
    metrics = {"shared/local/skill/mean": 0.3, "shared/local/loss/mean": 2.0}
    table = tabulate(group([record(metrics=metrics)]), metrics=["local/loss/mean", "shared/local/loss/mean"])
    names = [column.name for column in table.columns if column.is_result]
    assert names == ["base", "skill", "local/loss/mean", "shared/local/loss/mean"]


def test_a_number_has_no_more_digits_than_its_interval_knows() -> None:
    tasks = [{"shared/local/skill/mean": value} for value in (0.46123, 0.47456, 0.45001)]
    table = tabulate(group([record(seed=seed, metrics=one) for seed, one in enumerate(tasks)]))
    (column,) = (column for column in table.columns if column.name == "skill")
    assert cell_text(column, row(table, "fedavg").cells["skill"]) == "0.462 ± 0.031"
