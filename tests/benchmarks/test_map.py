from pathlib import Path

import pytest
from benchmarks.map import AXES, COLOURS, MAPS, MEASURE, draw, page, points, sure

from synoptic.experiment.comparison.groups import Group
from synoptic.experiment.comparison.suite import read_suite
from synoptic.experiment.folder import RunFolder
from synoptic.experiment.records import RunRecord

SUITES = {name: read_suite(MAPS / f"{name}.yaml") for name in AXES}


def measured(label, condition, values):
    runs = [
        RunRecord(RunFolder(Path("x")), {"seed": seed}, "finished", {"seed": seed, "metrics": {MEASURE: value}})
        for seed, value in enumerate(values)
    ]
    return Group(label, tuple(runs), condition)


@pytest.fixture
def axis():
    flat = [0.5, 0.51, 0.49, 0.5, 0.5]
    above, below, wild = [v + 0.1 for v in flat], [v - 0.1 for v in flat], [0.2, 0.9, 0.5, 0.8, 0.3]
    return points(
        [
            measured("zeroshot", "2", flat),
            measured("fedavg", "2", above),
            measured("stepmatched", "2", [v + 0.2 for v in flat]),
            measured("feddtl", "2", below),
            measured("averaged", "2", wild),
        ]
    )


@pytest.mark.parametrize("name", AXES)
def test_every_cell_of_a_map_is_a_recipe_and_every_method_has_a_colour(name, tmp_path):
    suite = SUITES[name]
    assert set(suite.methods) == set(COLOURS)
    assert len({suite.recipe_of(cell, tmp_path).hash for cell in suite.cells if cell.seed == 0}) == len(
        [cell for cell in suite.cells if cell.seed == 0]
    )


def test_what_is_sure_is_beyond_the_interval(axis):
    there = axis["2"]
    assert sure(there["stepmatched"].over_usual) == 1
    assert sure(there["feddtl"].over_usual) == -1
    assert sure(there["averaged"].over_usual) == 0
    assert there["fedavg"].over_usual is None
    assert sure(there["feddtl"].over_floor) == -1


def test_three_seeds_decide_nothing():
    axis = points([measured("fedavg", "", [0.5] * 3), measured("feddtl", "", [0.9] * 3)])
    assert sure(axis[""]["feddtl"].over_usual) == 0


def test_the_page_says_who_is_better_and_who_sank(axis):
    text = page([(SUITES["classes"], axis)])
    assert "better than FedAvg: stepmatched; worse than FedAvg: zeroshot, feddtl" not in text, "the floor is no method"
    assert "better than FedAvg: stepmatched; worse than FedAvg: feddtl; below doing nothing: feddtl." in text
    assert "| 2 | 50.0 (**-10.0 [-10.0, -10.0]**) | 60.0 | 70.0 (**+10.0 [10.0, 10.0]**) |" in text
    assert "40.0†" in text


def test_equal_results_give_an_equal_picture(axis, tmp_path):
    for name in ("a.svg", "b.svg"):
        draw([(SUITES["classes"], axis)], tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
