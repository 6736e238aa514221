"""The claims about FedDTL can be checked: every cell is a valid recipe, and no point of the list is left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from synoptic.cli import app
from synoptic.experiment.claims.reading import read_claims

ROOT = Path(__file__).parents[2]
FILES = ["feddtl", "feddtl_emoji"]


@pytest.fixture(autouse=True)
def shared_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Recipes are only read here, so the folder may be empty."""
    monkeypatch.setenv("SYNOPTIC_SHARED_DATA", str(tmp_path))


@pytest.mark.parametrize("name", FILES)
def test_every_entry_under_every_condition_is_a_valid_recipe(name: str) -> None:
    file = read_claims(ROOT / "claims" / f"{name}.yaml")
    for suite in file.suites.values():
        for cell in suite.cells:
            recipe = suite.recipe_of(cell, Path("runs"))
            if recipe.rounds:
                assert (recipe.rounds, recipe.train.epochs, recipe.compute.threads) == (10, 2, 1), cell


def test_everything_that_the_reconstruction_lists_has_a_claim() -> None:
    file = read_claims(ROOT / "claims" / "feddtl.yaml")
    known = {claim.partition("-")[0] for claim in file.claims}
    assert {f"f{number}" for number in range(1, 14)} <= known
    for claim in file.claims.values():
        assert claim.paper is None, "the paper's own figures are known from notes alone"
        assert claim.source.status != "confirmed"


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES[:1])
def test_every_claim_can_be_evaluated(name: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["claims", str(ROOT / "claims" / f"{name}.yaml"), "--quick", "--quiet",
                                      "--output", str(tmp_path)])  # fmt: skip
    assert result.exit_code == 0, result.output
