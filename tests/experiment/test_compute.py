from __future__ import annotations

import os

import pytest
import torch

from rooms import bench, digits
from synoptic.experiment import compute
from synoptic.experiment.compute import choose


def test_numbers_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "_step_seconds", lambda *_: pytest.fail("nothing was to be measured"))
    assert choose(bench(digits()), 4, 3, 7) == (3, 7)


def test_a_run_that_trains_nobody_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "_step_seconds", lambda *_: pytest.fail("nothing was to be measured"))
    threads, stack = choose(bench(digits()), 0, "auto", "auto")
    assert threads >= 1
    assert stack >= 1


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [({1: 1.0, 4: 0.5}, 4), ({1: 1.0, 4: 0.99}, 1), ({1: 1.0, 4: 2.0}, 1)],
    ids=["faster", "a little faster is noise", "slower"],
)
def test_the_fastest_stack_is_chosen(monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], chosen: int) -> None:
    monkeypatch.setattr(compute, "_step_seconds", lambda on, stack: seconds[stack])
    assert choose(bench(digits()), 4, 1, "auto") == (1, chosen)


def test_more_threads_are_tried_only_on_an_idle_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "_step_seconds", lambda on, stack: 1.0 / torch.get_num_threads())
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    for load, threads in ((0.0, 2), (1.5, 1)):
        monkeypatch.setattr(compute, "busy_cores", lambda load=load: load)
        assert choose(bench(digits()), 4, "auto", 2) == (threads, 2)
    assert torch.get_num_threads() == 1, "the caller's thread count is restored"


def test_busy_cores_are_what_others_use_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([1000, 1000 + int(1.5 * compute.LOOK * os.sysconf("SC_CLK_TCK"))])
    monkeypatch.setattr(compute, "_jiffies", lambda: next(ticks))
    assert compute.busy_cores() == pytest.approx(1.5, abs=0.1)
    monkeypatch.setattr(compute, "_jiffies", lambda: None)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.75, 0.0, 0.0))
    assert compute.busy_cores() == 0.75


def test_measuring_takes_real_steps_and_leaves_no_trace() -> None:
    on = bench(digits())
    before = on.new_adapter()
    assert choose(on, 4, 1, "auto") in {(1, 1), (1, 4)}
    assert all(torch.equal(on.new_adapter()[name], before[name]) for name in before.keys())  # noqa: SIM118
