"""The picture of what two sites can both have: what it is made of, and that the page shows the committed results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmarks.pareto import (
    BASE,
    BEGIN,
    END,
    OBJECTIVE,
    PAGE,
    RESULTS,
    SUITE,
    WEIGHTS,
    draw,
    mean_of,
    of_sites,
    table,
    with_table,
)

from synoptic.core.files import read_json
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


def test_equal_results_give_an_equal_picture_and_page(runs: dict[str, list[dict[str, Any]]], tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw(runs, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    page = f"head\n{BEGIN}\n{END}\ntail\n"
    assert with_table(with_table(page, runs), runs) == with_table(page, runs)


def test_the_page_shows_the_committed_results() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert BEGIN in page and END in page
    if RESULTS.exists():
        assert page == with_table(page, read_json(RESULTS)["runs"]), "run: python -m benchmarks.pareto --page"
