from __future__ import annotations

import io
import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from claimed import SMALL, write
from synoptic.core import SynopticError
from synoptic.experiment.claims.check import Checked, Outcome, check_claims
from synoptic.experiment.claims.judge import Verdict
from synoptic.experiment.claims.page import page
from synoptic.experiment.claims.reading import read_claims
from synoptic.experiment.claims.relation import parse_relation
from synoptic.experiment.claims.results import write_results
from synoptic.experiment.claims.show import show_evaluated, show_verdicts, summary
from synoptic.experiment.claims.spec import Claim
from synoptic.experiment.claims.text import bound_text, effect_text, interval_text

KEYS = {"id", "statement", "source", "verdict", "effect", "low", "high", "seeds", "suite_hash", "data"}


def silent() -> Any:
    return nullcontext(lambda event: None)


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Checked:
    folder = tmp_path_factory.mktemp("claims")
    return check_claims(read_claims(write(folder)), folder / "runs", silent)


def shown(show: Any, what: Any, width: int = 60) -> list[str]:
    console = Console(file=io.StringIO(), width=width, markup=False, highlight=False)
    show(console, what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_verdicts(checked: Checked) -> None:
    words = {outcome.name: outcome.verdict.word for outcome in checked.outcomes}
    assert words == {"bytes-flow": "holds", "zero-is-zero": "holds", "gains-a-lot": "fails"}
    assert all(outcome.evaluated for outcome in checked.outcomes)
    assert not checked.failures


def test_runs_are_shared_and_reused(checked: Checked) -> None:
    (comparison,) = checked.comparisons.values()
    output = comparison.groups[0].runs[0].folder.path.parent
    events: list[Any] = []
    again = check_claims(checked.file, output, lambda: nullcontext(events.append))
    assert {event["status"] for event in events if event["type"] == "cell"} == {"reused"}
    assert [outcome.verdict for outcome in again.outcomes] == [outcome.verdict for outcome in checked.outcomes]


def test_results_are_a_list_with_a_mapping_for_each_claim(checked: Checked, tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    write_results(checked, path)
    rows = json.loads(path.read_text())
    assert [row["id"] for row in rows] == list(checked.file.claims)
    assert all(set(row) >= KEYS for row in rows)
    first = rows[0]
    assert (first["verdict"], first["seeds"], first["source"]) == ("holds", 4, "ours")
    assert first["data"] == "digits, Dirichlet(0.5), 3 clients"
    assert first["suite_hash"] == checked.file.suites["pair"].hash
    assert first["effect"] == pytest.approx(sum(first["values"].values()) / 4)
    assert rows[1]["paper"] == {"value": 1.5, "unit": "points", "where": "table 1"}
    assert rows[2]["low"] <= rows[2]["effect"] <= rows[2]["high"] < 1


def test_what_is_no_number_is_null_in_json(checked: Checked, tmp_path: Path) -> None:
    lost = [replace(outcome, verdict=Verdict("undecided", reason="gone")) for outcome in checked.outcomes]
    write_results(replace(checked, outcomes=tuple(lost)), tmp_path / "lost.json")
    row = json.loads((tmp_path / "lost.json").read_text(), parse_constant=pytest.fail)[0]
    assert (row["effect"], row["low"], row["seeds"], row["reason"]) == (None, None, 0, "gone")


def test_the_page_has_every_claim_in_full(checked: Checked) -> None:
    text = page(checked)
    for name, claim in checked.file.claims.items():
        assert f"[{claim.statement}](#{name})" in text
        assert f"### {name}\n\n{claim.statement}" in text
        assert claim.parsed.text in text
    assert "| +1.5 points |" in text
    assert "the paper's figure: +1.5 points (table 1)" in text
    assert "A remark." in text
    assert f"`{checked.file.suites['pair'].hash}`" in text
    assert "| zeroshot |" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    head = next(line for line in rows if line.startswith("| claim"))
    assert all(line.count("|") == head.count("|") for line in rows[: 1 + len(checked.outcomes)])


def test_a_line_for_each_claim_in_sixty_columns(checked: Checked) -> None:
    lines = shown(show_verdicts, checked)
    assert max(map(len, lines)) <= 60
    words = [line.split() for line in lines]
    assert ["✓", "holds", "zero-is-zero", "+0.0", "pp", "[0.0,", "0.0]"] in words
    assert any(line.startswith("✗ does not hold") and "gains-a-lot" in line for line in lines)
    assert lines[-1] == "2 of 3 claims hold, 1 does not, 0 are undecided"
    assert "zero-is-zero: the paper has +1.5 points" in lines
    wide = shown(show_verdicts, checked, 120)
    assert not any("the paper has" in line for line in wide)
    assert any(line.split()[-1:] == ["paper"] and "must be" in line for line in wide)
    assert any("> 100" in line for line in wide)


def test_reasons_are_told(checked: Checked) -> None:
    first = replace(checked.outcomes[0], verdict=Verdict("undecided", 1.0, seeds=(0,), reason="1 seed is too few"))
    lines = shown(show_verdicts, replace(checked, outcomes=(first,)))
    assert "bytes-flow: 1 seed is too few" in lines
    assert lines[-1] == "0 of 1 claim hold, 0 do not, 1 is undecided"
    assert interval_text(first) == ""


def test_one_hold_many_holds(checked: Checked) -> None:
    assert summary(checked.outcomes[:1]) == "1 of 1 claim holds, 0 do not, 0 are undecided"


def test_the_small_version_says_what_can_be_evaluated(checked: Checked) -> None:
    lost = replace(checked.outcomes[0], verdict=Verdict("undecided"))
    lines = shown(show_evaluated, [lost, *checked.outcomes[1:]])
    assert sum("✓ evaluated" in line for line in lines) == 2
    assert any("✗ not evaluated  bytes-flow" in line and line.endswith("n/a") for line in lines)


def test_effects_in_their_units() -> None:
    def text(relation: str, effect: float) -> str:
        claim = Claim.model_validate({"statement": "s", "source": "ours", "suite": "x", "relation": relation})
        return effect_text(Outcome("x", claim, Verdict("holds", effect), (), "", ""))

    assert text("mean(a: shared/base/accuracy) > 0", 0.8274) == "82.7 %"
    assert text("mean(a: shared/base/accuracy) - mean(b: shared/base/accuracy) > 0", -0.0004) == "+0.0 pp"
    assert text("mean(a: bytes/up) / mean(b: bytes/up) > 0", 11.73) == "11.7x"
    assert text("mean(a: bytes/up) - mean(b: bytes/up) > 0", -2.1e6) == "-2.1 MB"
    assert text("mean(a: seconds/total) > 0", 75) == "1 min 15 s"
    assert text("mean(a: shared/base/loss) > 0", 0.123456) == "0.123"


@pytest.mark.parametrize(
    ("relation", "bound"),
    [
        ("mean(a: shared/base/accuracy) - mean(b: shared/base/accuracy) == 0 within 0.01", "0 ± 1"),
        ("mean(a: work/steps) / mean(b: work/steps) == 1 within 0", "= 1"),
        ("mean(a: bytes/up) / mean(b: bytes/up) >= 10", "≥ 10"),
        ("mean(a: shared/base/loss) <= 0.5", "≤ 0.5"),
        ("increasing([a, b]: shared/base/accuracy)", "> 0"),
    ],
)
def test_bounds_in_the_unit_of_the_effect(relation: str, bound: str) -> None:
    assert bound_text(parse_relation(relation)) == bound


def test_an_absent_metric_names_the_claim(tmp_path: Path) -> None:
    text = SMALL.replace("mean(fedavg: bytes/total) > 0", "mean(fedavg: personal/base/accuracy) > 0").replace(
        "s: 4", "s: 1"
    )
    with pytest.raises(
        SynopticError, match="claim 'bytes-flow': the runs of fedavg have no metric 'personal/base/accur"
    ):
        check_claims(read_claims(write(tmp_path, text)), tmp_path / "runs", silent)


def test_a_recipe_that_cannot_be_is_told_before_anything_runs(tmp_path: Path) -> None:
    text = SMALL.replace("claims:\n", "  late:\n    settings: {data: wrld}\n    methods: [fedavg]\nclaims:\n", 1)
    text = text.replace("quick: {data.clients: 2, data.train_limit: 40}\n", "")
    with pytest.raises(SynopticError, match="wrld"):
        check_claims(read_claims(write(tmp_path, text)), tmp_path / "runs", silent)
    assert not (tmp_path / "runs").exists()


def test_a_run_that_cannot_be_leaves_its_claims_open(tmp_path: Path) -> None:
    text = SMALL.replace("[zeroshot, fedavg]", "[zeroshot, {method: fedavg, data.clients: 500}]").replace(
        "s: 4", "s: 1"
    )
    result = check_claims(read_claims(write(tmp_path, text)), tmp_path / "runs", silent)
    words = {outcome.name: outcome.verdict.word for outcome in result.outcomes}
    assert words["bytes-flow"] == "undecided"
    assert "500 clients cannot each get" in result.failures[0]
    assert "fedavg lacks seed 0" in result.outcomes[0].verdict.reason
    assert not result.outcomes[0].evaluated
    assert result.outcomes[1].evaluated


def test_a_damaged_run_is_told(tmp_path: Path) -> None:
    file = read_claims(write(tmp_path, SMALL.replace("s: 4", "s: 1")))
    done = check_claims(file, tmp_path / "runs", silent)
    folder = done.comparisons["pair"].groups[1].runs[0].folder
    folder.summary.write_text("{")
    again = check_claims(file, tmp_path / "runs", silent)
    assert "is not readable JSON" in again.failures[0]
    assert again.outcomes[0].verdict.word == "undecided"
