"""When TAP takes over what: how it is counted."""

from __future__ import annotations

from typing import Any

import pytest
from benchmarks.replacements import ALWAYS, NAMED, REPLACEMENTS, SPAN, counts, shares, table, tasks

from synoptic.core.files import read_json


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


def test_nobody_takes_over_what_it_does_not_have() -> None:
    committed = read_json(REPLACEMENTS.results)["runs"]
    for label in NAMED:
        for one, always in zip(committed[label], committed[ALWAYS], strict=True):
            assert one["seed"] == always["seed"]
            for task in tasks(committed):
                pairs = zip(one["counts"][task], always["counts"][task], strict=True)
                assert all(taken <= there for taken, there in pairs)
