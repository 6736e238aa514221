from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from benchmarks.deploy import __main__ as command
from benchmarks.deploy.damage import BAD
from benchmarks.deploy.faults import DOOR, KILLED, LEFT_OUT, MENDED, Tally, few, thousand
from benchmarks.deploy.page import page
from benchmarks.deploy.processes import Group, groups
from benchmarks.deploy.soak import figures
from benchmarks.deploy.sockets import over_sockets

from synoptic.core.files import read_json


def test_a_thousand_faults_of_every_kind() -> None:
    assert sum(thousand().values()) >= 1000
    assert set(thousand()) == {*LEFT_OUT, *MENDED} and set(BAD) < set(few())


def test_a_tally_tells_what_did_not_end_as_it_should() -> None:
    tally = Tally(rounds=2)
    tally.times.update(["NaN", "NaN", KILLED])
    tally.ended.update(["NaN", KILLED])
    told = {**tally.as_json(), "lost_rounds": 1}
    text = page({"faults": {"in_process": told, "over_sockets": Tally().as_json(), "about": ABOUT}})
    assert "| NaN | 2, **1 otherwise** |  | left out |" in text
    assert f"| {KILLED} | 1 |  | mended |" in text
    assert "| **lost rounds** | **1** | **0** |  |" in text


ABOUT = {"machine": "m", "cores": 2, "load": 0.5}


def test_growth_is_from_the_settled_round_to_the_end() -> None:
    samples = [{"server": 100.0 + (50 if round_ < 10 else 0) + round_ / 10, "wire": 1000.0 * round_}
               for round_ in range(40)]  # fmt: skip
    events: list[dict[str, Any]] = [
        {"bytes_up": 300, "bytes_down": 600, "clients": 3, "seconds": 0.5} for _ in range(40)
    ]
    told = figures(samples, events, {"final_hash": "h"})
    assert told["settled_after"] == 10
    assert told["memory"]["server"]["growth"] == pytest.approx(103.7 / 101.2 - 1, abs=1e-4)
    assert (told["wire_bytes_per_round"], told["ledger_bytes_per_round"], told["adapter_bytes"]) == (1000, 900, 200)
    assert "+11.1 %" in page({"soak": {**told, "about": ABOUT}})


def test_the_page_is_the_one_that_the_command_writes() -> None:
    assert command.PAGE.read_text(encoding="utf-8") == page(read_json(command.RESULTS))


def test_processes_are_ended_with_all_that_they_started(tmp_path: Path) -> None:
    script = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)']); " \
             "print('on', flush=True); time.sleep(99)"  # fmt: skip
    with groups() as started:
        started.append(Group(tmp_path / "log", [sys.executable, "-c", script], tmp_path))
        while "on" not in started[0].log.read_text():
            assert started[0].over is None
    assert started[0].over is not None


def test_one_fault_of_each_sort_over_sockets(tmp_path: Path) -> None:
    tally = over_sockets(tmp_path, {"truncated": 1, KILLED: 1}, 1)
    assert (tally.lost_rounds, tally.corrupted_replies) == (0, 0)
    assert tally.times == tally.ended
    assert set(tally.times) == {"truncated", KILLED, *DOOR}
