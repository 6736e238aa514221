from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runs import small, stop_at
from synoptic.core import SynopticError
from synoptic.core.files import read_json
from synoptic.experiment.event_page import BEGIN, END, with_tables
from synoptic.experiment.event_schema import EVENTS, SCHEMA, Summary, check_event
from synoptic.experiment.events import Event, read_events
from synoptic.experiment.runner import resume, run
from synoptic.federation.server import RoundFailed, Server
from synoptic.methods.base import registry
from synoptic.methods.fedavg import FedAvg

PAGE = Path(__file__).parents[2] / "docs" / "events.md"
REFUSED = ["federation.max_update_norm=1e-12", "federation.max_failed_rounds=9"]
"""Every reply is refused, so every round fails."""


def interrupted_and_resumed(folder: Path) -> list[Event]:
    """A run that was interrupted, lost its newest checkpoint and went on: all that was told and written."""
    told: list[Event] = []
    with pytest.raises(KeyboardInterrupt):
        run(small(folder, "local"), [told.append, stop_at("cohort", 2)])
    (path,) = folder.iterdir()
    written = list(read_events(path / "events.jsonl"))
    sorted((path / "checkpoints").iterdir())[-1].write_bytes(b"broken")
    resume(path, [told.append])
    return [*told, *written, *read_events(path / "events.jsonl")]


def test_every_event_of_real_runs_is_as_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = interrupted_and_resumed(tmp_path / "interrupted")
    ends = iter([RoundFailed("too few"), None])

    def end(method: FedAvg, server: Server) -> None:
        if (error := next(ends)) is not None:
            raise error

    monkeypatch.setattr(FedAvg, "end", end)
    failing = run(small(tmp_path / "failing", "fedavg", "rounds=2", *REFUSED), [told.append])
    told += read_events(failing.folder / "events.jsonl")
    for event in told:
        check_event(event)
    assert {event["type"] for event in told} == set(EVENTS)
    assert {event["schema"] for event in told if event["type"] == "run_started"} == {SCHEMA}


@pytest.mark.parametrize("method", list(registry()))
def test_every_method_tells_what_is_described(tmp_path: Path, method: str) -> None:
    folder = run(small(tmp_path, method, "rounds=1")).folder
    # Python reads and writes NaN; JSON, and others who read it, know no such thing.
    lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    for event in events:
        check_event(event)
    assert Summary.model_validate(read_json(folder / "summary.json"))
    assert events[-1]["summary"] == read_json(folder / "summary.json")


SKIPPED = {"type": "checkpoint_skipped", "time": 1.5, "reason": "it is damaged"}


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        ({**SKIPPED, "more": 1}, "'checkpoint_skipped' is not as described: more: extra inputs are not permitted"),
        ({**SKIPPED, "reason": 3}, "'checkpoint_skipped' is not as described: reason: input should be a valid string"),
        ({"type": "checkpoint_skipped", "time": 1.5}, "'checkpoint_skipped' is not as described: reason: field requi"),
        ({**SKIPPED, "type": "round_faild"}, "no event of type 'round_faild'; did you mean 'round_failed'?"),
        ({"time": 1.5}, "there is no event of type 'None'"),
    ],
)
def test_what_is_not_described_is_refused(event: dict[str, Any], sentence: str) -> None:
    check_event(SKIPPED)
    with pytest.raises(SynopticError) as caught:
        check_event(event)
    assert sentence in str(caught.value)


def test_the_page_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.count(BEGIN) == page.count(END) == 1
    assert page == with_tables(page), "run: python -m synoptic.experiment.event_page docs/events.md"
    for name in EVENTS:
        assert f"### `{name}`\n" in page
