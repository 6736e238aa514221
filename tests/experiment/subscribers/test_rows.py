from __future__ import annotations

from typing import Any

import pytest

from synoptic.experiment.subscribers import Row, Rows

METRICS = {"shared/base/accuracy/mean": 0.5, "shared/base/loss/mean": 1.5}


def started(time: float, first: int = 0) -> dict[str, Any]:
    return {"type": "run_started", "time": time, "first_round": first}


def evaluated(time: float, round_: int) -> dict[str, Any]:
    return {"type": "evaluated", "time": time, "round": round_, "metrics": METRICS, "per_client": {"client-0": METRICS}}


def a_round(time: float, round_: int, **more: Any) -> dict[str, Any]:
    return {"type": "round", "time": time, "round": round_, "rounds": 9, "seconds": 2.0, "loss": 1.25, "clients": 3,
            "failed": False, "bytes_up": 10, "bytes_down": 20, "metrics": METRICS, "log": {"loss": 1.25, "drift": 0.5},
            **more}  # fmt: skip


def test_rounds_done_and_seconds_since_the_start() -> None:
    rows = Rows()
    assert rows.of(started(100.0)) == []
    assert rows.of(evaluated(101.5, -1)) == [Row(0, 1.5, name, value) for name, value in METRICS.items()]
    told = rows.of(a_round(104.0, 0))
    assert {(row.round, row.seconds) for row in told} == {(1, 4.0)}
    assert {row.name: row.value for row in told} == {
        "round/loss": 1.25, "round/seconds": 2.0, "round/clients": 3.0, "round/bytes_up": 10.0,
        "round/bytes_down": 20.0, "round/failures": 0.0, "round/failed": 0.0, "log/drift": 0.5,
    }  # fmt: skip


def test_what_is_not_known_has_no_row() -> None:
    names = [row.name for row in Rows().of(a_round(1.0, 0, loss=None, log={}))]
    assert "round/loss" not in names
    assert "round/seconds" in names
    assert Rows().of({"type": "of tomorrow", "time": 1.0}) == []


def test_failures_are_counted_by_round() -> None:
    rows = Rows()
    failure = {"type": "failure", "time": 1.0, "round": 0, "client": 1, "task": "train", "reason": "no"}
    counts = []
    for events in ([failure, failure, a_round(2.0, 0)], [a_round(3.0, 1)], [failure, started(4.0), a_round(5.0, 1)]):
        told = [row for event in events for row in rows.of(event)]
        counts += [row.value for row in told if row.name == "round/failures"]
    assert counts == [2, 0, 0]


def test_the_time_between_stop_and_resume_does_not_count() -> None:
    rows = Rows()
    seconds = [[row.seconds for row in rows.of(event)] for event in (
        started(100.0), a_round(110.0, 0), started(5000.0, 1), a_round(5003.0, 1))]  # fmt: skip
    assert (set(seconds[1]), set(seconds[3])) == ({10.0}, {13.0})


@pytest.mark.parametrize("back", [50.0, 109.0])
def test_a_clock_that_is_set_back_makes_no_time_go_back(back: float) -> None:
    rows = Rows()
    for event in (started(100.0), a_round(110.0, 0)):
        rows.of(event)
    assert {row.seconds for row in rows.of(a_round(back, 1))} == {10.0}
