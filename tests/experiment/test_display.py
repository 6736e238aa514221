from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from synoptic.data.inspect import ClientRow, Said
from synoptic.experiment.display import LineWatcher, LiveWatcher, Watcher, show_clients, show_result, watch
from synoptic.experiment.display.numbers import bytes_text, headlines, seconds_text, value_text
from synoptic.experiment.display.training import Progress

STARTED = {
    "type": "run_started", "run": "x", "folder": "runs/x", "method": "fedavg", "model": "tiny-clip", "data": "digits",
    "clients": 5, "rounds": 12, "seed": 3, "recipe_hash": "0123456789abcdef", "threads": 1, "stack": 5,
    "first_round": 0,
}  # fmt: skip
METRICS = {"shared/base/accuracy/mean": 0.7125, "shared/base/loss/mean": 1.5, "personal/local/accuracy/mean": 0.9}
SUMMARY = {
    "rounds": 12, "metrics": METRICS, "bytes": {"up": 1_234_567, "down": 999},
    "seconds": {"total": 75.0, "train": 60.0, "evaluate": 10.0, "communicate": 5.0},
}  # fmt: skip


def a_round(number: int, **more: Any) -> dict[str, Any]:
    return {"type": "round", "round": number, "rounds": 12, "seconds": 2.0, "loss": 1.23456, "clients": 5,
            "bytes_up": 1_000_000, "bytes_down": 500_000, "metrics": METRICS, "log": {}, **more}  # fmt: skip


def paper(width: int = 60, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, no_color=True, markup=False,
                   highlight=False, legacy_windows=False)  # fmt: skip


def text(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def lines(*events: dict[str, Any]) -> list[str]:
    console = paper()
    with LineWatcher(console) as watcher:
        for event in events:
            watcher(event)
    return text(console).splitlines()


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (99_949, "99.9 kB"), (99_960, "100 kB"), (999_600, "1.0 MB"),
     (2_100_000, "2.1 MB"), (3e9, "3.0 GB"), (5e15, "5000.0 TB")],
)  # fmt: skip
def test_bytes(count: float, words: str) -> None:
    assert bytes_text(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.7, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_seconds(seconds: float, words: str) -> None:
    assert seconds_text(seconds) == words


def test_metrics_as_text() -> None:
    assert value_text("shared/base/accuracy/mean", 0.7125) == "71.2 %"
    assert value_text("shared/base/loss/mean", 1.23456) == "1.235"
    assert headlines(METRICS) == "shared/base 71.2 %  personal/local 90.0 %"
    assert headlines({"shared/global/accuracy/mean": 0.5}) == "shared/global 50.0 %"
    assert headlines({}) == ""
    known = {"shared/global/accuracy/mean": 0.01, "shared/global/utility/mean": -0.254}
    assert headlines(known) == "shared/global utility -0.254"


def test_lines_tell_a_run() -> None:
    told = lines(
        STARTED,
        {"type": "evaluated", "round": -1, "metrics": METRICS},
        a_round(0),
        {"type": "evaluated", "round": 0, "metrics": METRICS},
        a_round(9, metrics={}, loss=None),
        {"type": "of tomorrow"},
    )
    assert told == [
        "fedavg on digits, 5 clients, seed 3",
        "tiny-clip, recipe 0123456789abcdef",
        "before training  shared/base 71.2 %  personal/local 90.0 %",
        "round  1/12  loss 1.235  shared/base 71.2 %  personal/local 90.0 %  1.5 MB  2.0 s",
        "round 10/12  1.5 MB  2.0 s",
    ]


def test_a_resumed_run_says_where_it_goes_on() -> None:
    assert lines({**STARTED, "first_round": 4, "clients": 1})[0] == (
        "fedavg on digits, 1 client, seed 3, going on after round 4"
    )


def test_failures_are_told_but_never_by_the_thousand() -> None:
    failures = [{"type": "failure", "round": 1, "client": k, "task": "train", "reason": "[no] space"} for k in range(9)]
    told = lines(*failures, a_round(1), failures[0], {"type": "round_failed", "round": 2, "reason": "too few"})
    assert told[0] == "round 2: client 0 failed in train: [no] space"
    assert told[3] == "... and 6 more clients failed"
    assert told[5] == told[0]
    assert told[6] == "round 3 failed: too few"


def test_a_quiet_watcher_remembers_and_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    watcher = watch(paper(), quiet=True)
    assert (watcher.folder, watcher.rounds_done) == (None, None)
    watcher(STARTED)
    assert (watcher.folder, watcher.rounds_done) == ("runs/x", 0)
    watcher(a_round(6))
    assert watcher.rounds_done == 7
    assert capsys.readouterr().out == ""


def test_the_watcher_suits_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert type(watch(paper(), quiet=True)) is Watcher
    assert type(watch(paper(), quiet=False)) is LineWatcher
    assert type(watch(paper(terminal=True), quiet=False)) is LiveWatcher
    monkeypatch.setenv("TERM", "dumb")
    assert type(watch(paper(terminal=True), quiet=False)) is LineWatcher


@pytest.mark.parametrize("width", [40, 60, 200])
def test_the_live_picture_fits_and_tells_everything(width: int) -> None:
    watcher = LiveWatcher(paper(width, terminal=True))
    for event in (STARTED, a_round(0), a_round(1), {"type": "cohort", "round": 2, "done": 2, "total": 5}):
        watcher(event)
    console = paper(width)
    console.print(watcher.picture())
    shown = text(console)
    assert all(len(line) <= min(width, 100) for line in shown.splitlines())
    for part in ("round 2/12", "clients 2/5", "20 s left", "loss 1.235", "3.0 MB sent"):
        assert part in shown


def test_the_live_picture_waits_for_the_first_event() -> None:
    console = paper()
    console.print(LiveWatcher(paper(terminal=True)).picture())
    assert "getting ready" in text(console)


def test_the_live_picture_is_gone_after_an_error() -> None:
    watcher = LiveWatcher(paper(terminal=True))
    with pytest.raises(RuntimeError), watcher:
        raise RuntimeError
    assert not watcher._live.is_started


def test_a_wide_terminal_shows_what_was_before() -> None:
    console = paper(80)
    show_result(console, Path("runs/x"), {**SUMMARY, "before": dict.fromkeys(METRICS, 0.125)})
    shown = text(console).splitlines()
    assert "before" in shown[1]
    assert next(line for line in shown if "shared/base/accuracy/mean" in line).endswith("12.5 %")


@pytest.mark.parametrize("width", [60, 100])
def test_results_read_well_in_a_narrow_terminal(width: int) -> None:
    console = paper(width)
    folder = Path("runs") / ("a" * 70)
    metrics = {"personal/domain/emojitwo/accuracy/weighted": 0.5, "shared/domain/[red]/accuracy/mean": 0.25, **METRICS}
    show_result(console, folder, {**SUMMARY, "metrics": metrics})
    shown = text(console).splitlines()
    assert shown[-1] == f"run folder: {folder}"
    assert all(len(line) <= width for line in shown[:-1])
    rows = dict(line.rsplit("  ", 1) for line in shown[2:-1])
    rows = {name.strip(): value.strip() for name, value in rows.items()}
    assert rows["personal/domain/emojitwo/accuracy/weighted"] == "50.0 %"
    assert rows["shared/domain/[red]/accuracy/mean"] == "25.0 %"
    assert rows["bytes up"] == "1.2 MB"
    assert rows["time, total"] == "1 min 15 s"
    assert not any("loss" in name for name in rows)


TASKED = {
    "shared/domain/ripe/accuracy/mean": 0.9, "shared/local/ripe/accuracy/mean": 0.5,
    "shared/local/ripe/accuracy/worst": 0.25, "shared/local/ripe/loss/mean": 1.0,
    "shared/local/looks/error/mean": 0.125,
    "shared/local/ripe/skill/mean": 0.1, "shared/local/skill/mean": 0.25, "shared/local/skill/worst": -0.5,
    "personal/local/ripe/accuracy/mean": 0.75, "personal/local/looks/error/mean": 0.0625,
    "personal/local/skill/mean": 0.5, "personal/local/skill/worst": 0.25,
}  # fmt: skip


@pytest.mark.parametrize("width", [60, 100])
def test_several_tasks_have_a_row_each_and_a_column_for_each_model(width: int) -> None:
    console = paper(width)
    summary = {**SUMMARY, "metrics": TASKED, "before": {"shared/local/ripe/accuracy/mean": 0.125}}
    show_result(console, Path("runs/x"), summary)
    shown = text(console).splitlines()
    assert all(len(line) <= width for line in shown)
    rows = {line[:15].strip(): line[15:].split() for line in shown[2:6]}
    early = ["12.5", "%"] if width == 100 else []
    assert rows == {
        "ripe": ["50.0", "%", *early, "75.0", "%"], "looks error": ["0.125", "0.0625"],
        "skill": ["0.25", "0.5"], "worst task": ["-0.5", "0.25"],
    }  # fmt: skip
    assert "bytes up" in text(console)
    assert headlines(TASKED) == "shared/local skill 0.25  personal/local skill 0.5"


def client(number: int, val: int = 0, domains: tuple[str, ...] = ()) -> ClientRow:
    return ClientRow(f"client-{number}", 10 + number, val, 5, 3, domains, 0.5, "red [b]circle")


DATA = {"train": 1000, "test": 200, "base_classes": 10, "novel_classes": 5, "domains": ["a", "b"],
        "duplicates_dropped": 3}  # fmt: skip


def test_clients_of_a_small_split() -> None:
    console = paper()
    show_clients(console, [client(0, 2, ("a", "b", "c", "d")), client(1)], DATA)
    shown = text(console)
    for part in ("1,000 training and 200 test examples, 10 classes and 5", "domains: a, b", "3 training examples left",
                 "2 clients hold 10 to 11", "client-0", "val", "50 %", "[b]"):  # fmt: skip
        assert part in shown
    assert all(len(line) <= 60 for line in shown.splitlines())


def test_what_the_server_holds_is_said() -> None:
    console = paper()
    show_clients(console, [client(0), client(1)], {**DATA, "pool": 1040, "pool_test": 20})
    assert "the server has 1,040 rows of nobody to train on and 20 to be judged on" in " ".join(text(console).split())


def test_questions_of_clients_are_one_line_each() -> None:
    console = paper()
    said = (Said("what\ncolour?", "red " * 40, "[b]blue"), Said("where?", "left"))
    rows = [replace(client(k), said=said) for k in range(30)]
    show_clients(console, rows, {**DATA, "pictures": 7})
    lines = text(console).splitlines()
    assert "(questions about 7 training pictures)" in " ".join(text(console).split())
    assert sum(line.startswith("  what colour? -> red red") for line in lines) == 8
    assert "    rejected: [b]blue" in lines
    assert "  where? -> left" in lines
    assert all(len(line) <= 60 for line in lines)


def test_clients_of_a_large_split_are_not_all_listed() -> None:
    console = paper()
    show_clients(console, [client(k) for k in range(1000)], {**DATA, "domains": [], "duplicates_dropped": 0})
    shown = text(console)
    assert len(shown.splitlines()) < 40
    assert "(980 more)" in shown
    assert "client-9 " in shown
    assert "client-990" in shown
    assert "client-500" not in shown
    assert "val" not in shown
    assert "domains" not in shown


def test_training_progress_is_a_few_lines_in_a_log() -> None:
    console = paper()
    progress = Progress(console, 1000)
    with progress:
        for step in range(1000):
            progress(step, 1.5)
    told = text(console).splitlines()
    assert len(told) == 20
    assert told[-1] == "step 1000/1000  loss 1.5  0.0 s left"
