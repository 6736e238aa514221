from __future__ import annotations

from typing import Any

import pytest

from synoptic.core import SynopticError
from synoptic.experiment.report.claims import check_claims, claims

ROW: dict[str, Any] = {
    "id": "better", "statement": "A beats B.", "source": "ours", "verdict": "holds", "effect": 0.0312, "low": -0.001,
    "high": 0.06, "seeds": 5, "suite_hash": "ab" * 8, "data": "digits", "unit": "share", "relation": "mean(a) > 0",
}  # fmt: skip


def cells(**change: Any) -> dict[str, tuple[str, str]]:
    block = claims([{**ROW, **change}])
    assert block is not None
    (grid,) = block.grids
    return {
        head: (cell.text.replace("\u00a0", " "), cell.note.replace("\u00a0", " "))
        for head, cell in zip(grid.head, grid.rows[0], strict=True)
    }


@pytest.mark.parametrize(
    ("verdict", "words"), [("holds", "✓ holds"), ("fails", "✗ does not hold"), ("undecided", "? undecided")]
)
def test_a_verdict_is_a_sign_and_a_word(verdict: str, words: str) -> None:
    assert cells(verdict=verdict)["verdict"] == (words, "")
    assert cells(verdict=verdict, reason="3 seeds")["verdict"] == (words, "3 seeds")


def test_an_effect_stands_in_its_unit_with_its_interval() -> None:
    minus = "\u2212"
    assert cells()["effect"] == ("3.1 %", f"{minus}0.1 % to 6.0 %")
    assert cells(unit="ratio", effect=11.7, low=11, high=12)["effect"][0] == "11.7x"
    assert cells(unit="bytes", effect=-2_100_000, low=None)["effect"] == (f"{minus}2.1 MB", "")
    assert cells(unit="number", effect=float("nan"), low=0.01)["effect"] == ("\u2013", "0.01 to 0.06")


def test_the_papers_figure_has_a_column_where_there_is_one() -> None:
    assert "paper" not in cells()
    assert cells(paper={"value": 2.1, "unit": "points", "where": "Table 3"})["paper"] == ("2.1 points", "Table 3")
    assert cells(paper="2 points")["paper"] == ("2 points", "")


def test_it_is_counted_how_many_hold() -> None:
    block = claims([ROW, {**ROW, "verdict": "fails"}, ROW])
    assert block is not None
    assert block.about == ("Of 3: 2 hold, 1 do not, 0 are undecided.",)
    assert claims([]) is None


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ({"a": 1}, "are not a list of claims"),
        ("text", "are not a list of claims"),
        ([1], "claim 1 of the claims lacks id"),
        ([ROW, {"id": "x"}], "claim 2 of the claims lacks statement, verdict"),
        ([{**ROW, "verdict": "hold"}], "claim 'better' has the verdict 'hold'; did you mean 'holds'"),
    ],
)
def test_rows_that_are_no_claims_are_refused(rows: Any, sentence: str) -> None:
    with pytest.raises(SynopticError, match=sentence):
        check_claims(rows)


def test_what_decides_a_claim_stands_below() -> None:
    block = claims([ROW])
    assert block is not None
    (fold,) = block.folds
    assert [[cell.text for cell in cells] for cells in fold.grid.rows] == [
        ["better", "mean(a) > 0", "digits", "ab" * 8]
    ]
