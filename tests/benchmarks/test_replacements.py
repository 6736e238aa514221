"""When TAP takes over what: how it is counted, and that the page shows the committed results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmarks.replacements import (
    ALWAYS,
    BEGIN,
    CLAIMS,
    END,
    NAMED,
    PAGE,
    RESULTS,
    SPAN,
    counts,
    draw,
    shares,
    table,
    tasks,
    with_table,
)

from synoptic.core.files import read_json
from synoptic.experiment.claims.reading import read_claims


@pytest.fixture
def runs() -> dict[str, list[dict[str, Any]]]:
    def of(each: int) -> list[dict[str, Any]]:
        return [{"seed": seed, "counts": {"shapes": [each + seed] * 7, "texts": [0] * 6 + [each]}} for seed in range(2)]

    return {ALWAYS: of(4), **{label: of(place) for place, label in enumerate(NAMED)}}


def test_counts_are_of_each_task_by_round() -> None:
    logs = [{"loss": 1.0, "replacements/a": value, "replacements/b": 0.0} for value in (1.0, 3.0)]
    events = [{"type": "run_started"}, *({"type": "round", "log": log} for log in logs)]
    assert counts(events) == {"a": [1, 3], "b": [0, 0]}


def test_a_share_is_of_the_clients_that_had_the_task_and_took_part(runs: dict[str, list[dict[str, Any]]]) -> None:
    first, last = shares(runs, "wide", "shapes")
    assert first is not None and last is not None
    assert first.mean == pytest.approx((SPAN * 1 / (SPAN * 4) + SPAN * 2 / (SPAN * 5)) / 2)
    assert last.mean == pytest.approx(first.mean)


def test_where_nobody_had_a_task_there_is_no_share(runs: dict[str, list[dict[str, Any]]]) -> None:
    first, last = shares(runs, "wide", "texts")
    assert first is None
    assert last is not None and last.mean == 0.25
    assert any("| texts | nobody |" in line for line in table(runs))


def test_equal_results_give_an_equal_picture_and_page(runs: dict[str, list[dict[str, Any]]], tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw(runs, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    page = f"head\n{BEGIN}\n{END}\ntail\n"
    assert with_table(with_table(page, runs), runs) == with_table(page, runs)


def test_the_suite_has_what_is_counted() -> None:
    suite = read_claims(CLAIMS).suites["world"]
    assert {ALWAYS, *NAMED} <= set(suite.methods)


def test_the_page_shows_the_committed_results() -> None:
    content = read_json(RESULTS)
    page, runs = PAGE.read_text(encoding="utf-8"), content["runs"]
    assert page == with_table(page, runs), "run: python -m benchmarks.replacements --page"
    for label in NAMED:
        for one, always in zip(runs[label], runs[ALWAYS], strict=True):
            assert one["seed"] == always["seed"]
            for task in tasks(runs):
                pairs = zip(one["counts"][task], always["counts"][task], strict=True)
                assert all(taken <= there for taken, there in pairs)
