"""The claims about TAP can be checked: every cell is a valid recipe, and no point of the list is left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from synoptic.cli import app
from synoptic.experiment.claims.reading import read_claims

ROOT = Path(__file__).parents[2]
FILES = ["tap", "tap_real"]
SEEDS = 5


@pytest.fixture(autouse=True)
def shared_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Recipes are only read here, so the folder may be empty."""
    monkeypatch.setenv("SYNOPTIC_SHARED_DATA", str(tmp_path))


@pytest.mark.parametrize("name", FILES)
def test_every_entry_under_every_condition_is_a_valid_recipe(name: str) -> None:
    file = read_claims(ROOT / "claims" / f"{name}.yaml")
    for suite in file.suites.values():
        assert len(suite.seeds) == SEEDS
        for cell in suite.cells:
            recipe = suite.recipe_of(cell, Path("runs"))
            tasks = recipe.data.tasks
            assert tasks is not None
            assert tasks.draw == 1, "settings were looked at on draw 0"
            assert recipe.compute.threads == 1
            assert recipe.evaluate.every == 0


def test_all_entries_of_a_suite_have_the_same_sites_and_rounds() -> None:
    for name in FILES:
        for suite in read_claims(ROOT / "claims" / f"{name}.yaml").suites.values():
            for condition in suite.conditions:
                cells = [cell for cell in suite.cells if cell.condition == condition and cell.seed == 0]
                recipes = [suite.recipe_of(cell, Path("runs")) for cell in cells]
                assert len({str((one.data, one.rounds, one.federation, one.train.lr)) for one in recipes}) == 1


def test_what_the_reconstruction_lists_has_a_claim_or_is_a_test() -> None:
    file = read_claims(ROOT / "claims" / "tap.yaml")
    known = {claim.partition("-")[0] for claim in file.claims}
    assert {"r4", "r5", "r6", "r7", "r9"} <= known, "R1 to R3, R8 and R10 are tests"
    for claim in file.claims.values():
        assert claim.paper is None, "no figure of the paper could be had"
        assert claim.source.status != "confirmed"


@pytest.mark.slow
def test_every_claim_can_be_evaluated(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["claims", str(ROOT / "claims" / "tap.yaml"), "--quick", "--quiet",
                                      "--output", str(tmp_path)])  # fmt: skip
    assert result.exit_code == 0, result.output
