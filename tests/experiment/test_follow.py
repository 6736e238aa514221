from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runs import small, stop_at
from synoptic.core import SynopticError
from synoptic.experiment import follow as following
from synoptic.experiment.events import Event, EventLog, read_events
from synoptic.experiment.folder import RunFolder, writing
from synoptic.experiment.follow import LogReader, News, alive, follow
from synoptic.experiment.runner import resume, run

SUMMARY = {"rounds": 2, "metrics": {}}


def no_words(sentence: str) -> None:
    raise AssertionError(sentence)


def event(kind: str, **more: Any) -> Event:
    return {"type": kind, "time": 1.0, **more}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run's folder as it is just after its making."""
    found = RunFolder(tmp_path / "run")
    found.path.mkdir()
    found.recipe.write_text("method: {name: fedavg}\nrounds: 2\nseed: 0\n")
    return found


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "POLL", 0.01)
    monkeypatch.setattr(following, "ASK", 0.05)


# -- one look after another -----------------------------------------------------------------------------------------


def test_each_look_brings_what_is_new(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    reader = LogReader(path)
    assert reader.look() == News()
    log = EventLog(path)
    assert reader.look() == News()
    for number in range(2):
        log.append(event("a", n=number))
    assert reader.look() == News([event("a", n=0), event("a", n=1)])
    assert reader.look() == News()
    log.append(event("b"))
    assert reader.look() == News([event("b")])


def test_a_line_that_is_being_written_waits(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    whole = json.dumps(event("é")).encode() + b"\n"
    reader = LogReader(path)
    for end in range(len(whole)):
        path.write_bytes(whole + whole[:end])
        assert reader.look().events == ([event("é")] if end == 0 else [])
    path.write_bytes(whole + whole)
    assert reader.look() == News([event("é")])


@pytest.mark.parametrize("again", [1, 2, 3, 4])
def test_a_log_that_was_cut_is_noticed_however_far_it_has_grown_again(tmp_path: Path, again: int) -> None:
    path = tmp_path / "events.jsonl"
    log, reader = EventLog(path), LogReader(path)
    log.append(event("kept"))
    kept = log.size
    for number in range(2):
        log.append(event("cut", n=number))
    reader.look()
    log = EventLog(path, kept)
    for number in range(again):
        log.append(event("new", n=number))
    fresh = [event("new", n=number) for number in range(again)]
    assert reader.look() == News(fresh, [event("kept"), *fresh])
    log.append(event("last"))
    assert reader.look() == News([event("last")])


def test_a_log_that_is_shorter_and_nothing_else_is_a_cut_too(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log, reader = EventLog(path), LogReader(path)
    for kind in "ab":
        log.append(event(kind))
    reader.look()
    EventLog(path, len(path.read_bytes()) // 2)
    assert reader.look() == News([], [event("a")])


@pytest.mark.parametrize("line", [b"noise\n", b"\xff\xfe\n", b"3\n", b"{}\n", b"\n"])
def test_a_damaged_line_is_one_sentence(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "events.jsonl"
    EventLog(path).append(event("a"))
    reader = LogReader(path)
    reader.look()
    with path.open("ab") as file:
        file.write(line)
    with pytest.raises(SynopticError, match=r"line 2 of .*events\.jsonl is damaged; restore the file from a copy\."):
        reader.look()


def test_a_log_that_is_a_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SynopticError, match="cannot be read"):
        LogReader(tmp_path).look()


# -- until the end --------------------------------------------------------------------------------------------------


def test_a_real_run_is_followed_to_its_end(tmp_path: Path, hasty: None) -> None:
    worker = threading.Thread(target=run, args=(small(tmp_path),), daemon=True)
    worker.start()
    path = None
    for _ in range(3000):
        path = next((recipe.parent for recipe in tmp_path.glob("*/recipe.yaml")), None)
        if path is not None:
            break
        time.sleep(0.01)
    assert path is not None
    seen: list[Event] = []
    summary = follow(path, lambda news: seen.extend(news.events), no_words)
    worker.join(30)
    assert seen == list(read_events(path / "events.jsonl"))
    assert summary == seen[-1]["summary"]


def test_a_run_that_ended_long_ago_is_told_at_once(tmp_path: Path) -> None:
    result = run(small(tmp_path, "fedavg", "rounds=1"))
    started = time.monotonic()
    assert follow(result.folder, lambda news: None, no_words) == result.summary
    assert time.monotonic() - started < following.POLL


def test_a_stopped_run_is_told_at_once_and_has_no_result(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(small(tmp_path), [stop_at("round", 1)])
    (path,) = tmp_path.iterdir()
    seen: list[Event] = []
    assert follow(path, lambda news: seen.extend(news.events), no_words) == {}
    assert seen[-1]["type"] == "interrupted"


def test_a_run_that_somebody_holds_is_not_taken_for_stopped(folder: RunFolder, hasty: None) -> None:
    with writing(folder):
        worker = threading.Thread(target=follow, args=(folder.path, lambda news: None, no_words), daemon=True)
        worker.start()
        # Several times longer than it waits before it asks.
        worker.join(0.3)
        assert worker.is_alive()
    worker.join(30)
    assert not worker.is_alive()


def test_what_a_real_resume_cuts_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(small(tmp_path), [stop_at("round", 1)])
    (path,) = tmp_path.iterdir()
    reader = LogReader(path / "events.jsonl")
    before = reader.look().events
    resume(path)
    news = reader.look()
    assert news.all == list(read_events(path / "events.jsonl"))
    assert (news.events[0]["type"], news.events[0]["first_round"]) == ("run_started", 1)
    kept = len(news.all) - len(news.events)
    assert news.all[:kept] == before[:kept]
    assert news.all[kept:] == news.events


def write(folder: RunFolder, *events: Event) -> None:
    log = EventLog(folder.events)
    for one in events:
        log.append(one)


def test_a_process_that_goes_away_ends_the_watching(folder: RunFolder, hasty: None) -> None:
    write(folder, event("run_started"))
    seen: list[Event] = []

    def take(news: News) -> None:
        seen.extend(news.events)
        if holder is not None and seen:
            next(holder, None)

    def held() -> Iterator[None]:
        with writing(folder):
            yield
        # What it wrote last is still seen.
        write_more()

    def write_more() -> None:
        with folder.events.open("ab") as file:
            file.write(json.dumps(event("failure")).encode() + b"\n")

    holder = held()
    next(holder)
    assert follow(folder.path, take, no_words) == {}
    assert [one["type"] for one in seen] == ["run_started", "failure"]


@pytest.mark.parametrize("log", [None, b"noise\n"])
def test_a_finished_run_without_its_log_still_has_its_result(tmp_path: Path, log: bytes | None) -> None:
    result = run(small(tmp_path, "fedavg", "rounds=1"))
    (result.folder / "events.jsonl").unlink()
    if log is not None:
        (result.folder / "events.jsonl").write_bytes(log)
    said: list[str] = []
    assert follow(result.folder, lambda news: None, said.append) == result.summary
    assert len(said) == 1
    assert "events.jsonl" in said[0]


def test_a_damaged_log_of_a_stopped_run_is_one_sentence(folder: RunFolder) -> None:
    folder.events.write_bytes(b"noise\n")
    with pytest.raises(SynopticError, match=r"line 1 of .* is damaged"):
        follow(folder.path, lambda news: None, no_words)


def test_what_is_no_run_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SynopticError, match="give the path that the run printed"):
        follow(tmp_path / "nothing", lambda news: None, no_words)


def test_alive_is_who_holds_the_lock(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert alive(folder) is False
    with writing(folder):
        assert alive(folder) is True
    assert alive(folder) is False
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert alive(folder) is None


def test_another_users_run_is_followed_with_a_word_about_it(
    folder: RunFolder, hasty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "alive", lambda folder: None)
    said: list[str] = []

    def take(news: News) -> None:
        if said:
            write(folder, event("run_finished", summary=SUMMARY))

    assert follow(folder.path, take, said.append) == SUMMARY
    assert said == ["the run is another user's, so whether it still runs is not known; Ctrl-C ends the watching"]
