from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from synoptic.experiment import compute
from synoptic.experiment.doctor import machine


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Writes what Linux tells a container."""

    def tell(**files: str) -> None:
        for name, content in files.items():
            (tmp_path / name.replace("_", ".")).write_text(content)
        monkeypatch.setattr(machine, "GROUP", tmp_path)

    return tell


def test_cores_are_those_that_may_be_used(container: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    container(cpu_max="max 100000\n")
    monkeypatch.setattr(machine, "usable_cores", lambda: 8)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 16)
    (found,) = machine.cores()
    assert (found.status, found.found) == ("fine", "8 of 16 usable")


@pytest.mark.parametrize(
    ("quota", "granted", "threads"), [("150000", "1.5", 1), ("50000", "0.5", 1), ("400000", "4", 4)]
)
def test_a_container_with_less_time_than_cores(
    container: Callable[..., None], monkeypatch: pytest.MonkeyPatch, quota: str, granted: str, threads: int
) -> None:
    container(cpu_max=f"{quota} 100000\n")
    monkeypatch.setattr(machine, "usable_cores", lambda: 8)
    (found,) = machine.cores()
    assert found.status == "note"
    assert f"only {granted} of their time is granted" in found.found
    assert found.fix == f"set compute.threads={threads}"


@pytest.mark.parametrize(
    ("cores", "busy", "threads", "load", "verdict"),
    [(4, 0.0, 4, "fine", "fine"), (4, 2.0, 4, "note", "note"), (4, 2.0, 2, "note", "fine"), (1, 1.0, 1, "note", "fine"),
     (2, 0.4, 2, "fine", "fine"), (2, 0.0, 16, "fine", "note")],
)  # fmt: skip
def test_more_threads_than_idle_cores_are_pointed_out(
    monkeypatch: pytest.MonkeyPatch, cores: int, busy: float, threads: int, load: str, verdict: str
) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: cores)
    monkeypatch.setattr(compute, "busy_cores", lambda: busy)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    found = {check.name: check for check in machine.load_and_threads()}
    assert (found["load"].status, found["threads"].status) == (load, verdict)
    assert f"PyTorch takes {threads}" in found["threads"].found
    assert all(check.fix for check in found.values() if check.status != "fine")


def test_memory_that_holds_the_cache(container: Callable[..., None]) -> None:
    container(memory_max=str(64 * 2**30), memory_current="0")
    found = next(iter(machine.memory()))
    assert found.name == "memory"
    assert "a run's cache may take 2GiB" in found.found


def test_memory_that_does_not_hold_the_cache_says_what_to_set(container: Callable[..., None]) -> None:
    container(memory_max=str(2**30), memory_current=str(2**29))
    found = next(iter(machine.memory()))
    assert found.status == "note"
    assert found.found.startswith("1.1 GB, 537 MB free")
    assert found.fix == "set compute.cache_memory=256MiB"


def test_places_that_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = {check.name: check for check in machine.disk()}
    assert found["run folder"].status in ("fine", "note")
    assert found["run folder"].found.startswith(f"{tmp_path}, "), "runs/ is made by the first run"
    assert not any(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    found = next(iter(machine.disk()))
    assert (found.status, found.found) == ("broken", f"{tmp_path} cannot be written (Read-only file system)")
    assert found.fix == "set output=FOLDER to a place that you can write to"


def test_a_place_that_is_nearly_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine, "ROOM", 2**62)
    found = next(iter(machine.disk()))
    assert found.status == "note"
    assert found.fix.startswith("make room")


def test_devices_say_what_runs_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"Card {index}")
    (found,) = machine.devices()
    assert found.found == "Card 0, Card 1; runs use the CPU"
