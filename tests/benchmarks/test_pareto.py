"""The picture of what two sites can both have: what it is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmarks.pareto import BASE, OBJECTIVE, SUITE, WEIGHTS, mean_of, of_sites, table

from synoptic.experiment.comparison.suite import read_suite


@pytest.fixture
def runs() -> dict[str, list[dict[str, Any]]]:
    return {label: [{"seed": seed, "utility": [place + seed / 10, 5 - place]} for seed in range(3)]
            for place, label in enumerate((*WEIGHTS, OBJECTIVE, BASE))}  # fmt: skip


def test_every_entry_is_a_recipe_of_its_own(tmp_path: Path) -> None:
    suite = read_suite(SUITE)
    assert set(suite.methods) == {BASE, OBJECTIVE, *WEIGHTS}
    recipes = [suite.recipe_of(cell, tmp_path) for cell in suite.cells if cell.seed == 0]
    assert len({recipe.hash for recipe in recipes}) == len(suite.methods)
    weights = {label: suite.methods[label].get("method.weights") for label in WEIGHTS}
    shares = {label: own[1] / sum(own) for label, own in weights.items()}
    assert shares == {"0": 0, "1/4": 0.25, "1/2": 0.5, "3/4": 0.75, "1": 1}


def test_what_sites_have_is_a_mean_over_seeds(runs: dict[str, list[dict[str, Any]]]) -> None:
    first, second = of_sites(runs, "1/4")
    assert (first.mean, second.mean) == pytest.approx((1.1, 4.0))
    assert mean_of(runs, "1/4").mean == pytest.approx(2.55)
    assert "| mixed, 1/4 for the second site | 1.10 ± 0.25 | 4.00 ± 0.00 | 2.55 ± 0.12 |" in table(runs)
