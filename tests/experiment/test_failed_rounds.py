"""A round that fails leaves no trace, however far it got; and no run finishes without what follows its last round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from runs import small, timeless
from synoptic.core import SynopticError
from synoptic.experiment.events import Event
from synoptic.experiment.runner import resume, run
from synoptic.federation.server import RoundFailed, Server
from synoptic.methods.base import Cohort, Replies, task
from synoptic.methods.fedvlm import FedVLM

TUNED = ("fedvlm", "method.finetune=2", "federation.max_failed_rounds=2")


def failing_round(patch: pytest.MonkeyPatch, round_: int, half_way: bool) -> None:
    """A round that fails before it did anything, or after it changed the state, the log and what clients keep."""
    original = FedVLM.round

    def one_round(method: FedVLM, server: Server, t: int) -> None:
        if t != round_ or half_way:
            original(method, server, t)
        if t == round_:
            for tensor in server.state.shared.values() if half_way else ():
                tensor.zero_()
            raise RoundFailed(f"round {t} got 1 valid replies of 3 and needs 2")

    patch.setattr(FedVLM, "round", one_round)


def test_a_round_that_fails_half_way_is_one_that_never_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Server and clients go on from where they were before it; only bytes and work were spent."""
    results = []
    for half_way in (False, True):
        with monkeypatch.context() as patch:
            failing_round(patch, 1, half_way)
            results.append(run(small(tmp_path / str(half_way), "fedvlm")))
    never, half = results
    assert half.summary["final_hash"] == never.summary["final_hash"]
    assert half.metrics == never.metrics
    logs = [[event["log"] for event in timeless(each.folder) if event["type"] == "round"] for each in results]
    assert logs[0] == logs[1]
    assert logs[1][1] == {}
    assert half.summary["bytes"]["up"] > never.summary["bytes"]["up"]
    assert half.summary["work"]["steps"] > never.summary["work"]["steps"]


def failing_end(patch: pytest.MonkeyPatch, times: float) -> None:
    """So many tries of the end in which every client answers nonsense, after it has changed what it keeps."""
    original, tried = FedVLM.finetune, [0]

    @task
    def finetune(method: FedVLM, cohort: Cohort, **sent: Any) -> Replies:
        replies: Replies = original(method, cohort, **sent)
        tried[0] += 0 in cohort.clients
        if tried[0] <= times:
            cohort.personal["tuned"] = cohort.personal.adapter("tuned", cohort.bench.new_adapter()) * 0
            replies.loss.fill_(torch.nan)
        return replies

    patch.setattr(FedVLM, "finetune", finetune)


def test_what_follows_the_last_round_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, told = run(small(tmp_path / "whole", *TUNED)), list[Event]()
    failing_end(monkeypatch, 1)
    again = run(small(tmp_path / "again", *TUNED), [told.append])
    assert again.summary["final_hash"] == whole.summary["final_hash"]
    assert [event["round"] for event in told if event["type"] == "end_failed"] == [3]
    assert not [event for event in told if event["type"] == "round" and event["failed"]]


def test_without_it_a_run_stops_and_resuming_repeats_the_last_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(small(tmp_path / "whole", *TUNED))
    with monkeypatch.context() as patch:
        failing_end(patch, float("inf"))
        with pytest.raises(SynopticError, match=r"after the last round, 2 times in a row; mend .* --resume"):
            run(small(tmp_path / "stopped", *TUNED))
    (folder,) = (tmp_path / "stopped").iterdir()
    assert not (folder / "summary.json").exists()
    result = resume(folder)
    assert result.summary["final_hash"] == whole.summary["final_hash"]
    assert timeless(result.folder) == timeless(whole.folder)


def test_a_last_round_that_fails_is_followed_by_the_end_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_round(monkeypatch, 3, half_way=True)
    summary = run(small(tmp_path, *TUNED)).summary
    assert summary["bytes"]["by_kind"]["finetune.loss"]["up"] == 3 * 4
    assert summary["rounds"] == 4
