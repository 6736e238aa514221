"""Rule 3: stop anywhere, resume, and end with the same bits as a run that never stopped."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runs import small, stop_at, timeless
from synoptic.core import SynopticError
from synoptic.core.files import read_json, write_json
from synoptic.experiment.runner import RunResult, Session, resume, run
from synoptic.methods.base import registry

EXTRA = {"fedavg": ["federation.participation=0.7", "method.mean=product"]}
HARD = ["data=world", "data.classes=6", "data.per_class=12", "data.test_per_class=6", "data.clients=4"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RunResult]:
    """The run that never stopped, once for each recipe."""
    done: dict[tuple[str, ...], RunResult] = {}

    def of(method: str, *changes: str) -> RunResult:
        key = (method, *changes)
        if key not in done:
            done[key] = run(small(tmp_path_factory.mktemp("whole"), method, *changes))
        return done[key]

    return of


def interrupted(folder: Path, kind: str, round_: int, method: str, *changes: str) -> Path:
    with pytest.raises(KeyboardInterrupt):
        run(small(folder, method, *changes), [stop_at(kind, round_)])
    (path,) = folder.iterdir()
    return path


def assert_same(one: RunResult, two: RunResult) -> None:
    assert one.summary["final_hash"] == two.summary["final_hash"]
    assert one.metrics == two.metrics
    assert one.summary["bytes"] == two.summary["bytes"]
    assert timeless(one.folder) == timeless(two.folder)


@pytest.mark.parametrize(
    ("method", "round_"), [*((method, 1) for method in registry()), ("fedavg", 0), ("fedavg", 2), ("feddtl", 2)]
)
def test_stop_after_a_round_and_resume(tmp_path: Path, whole: Any, method: str, round_: int) -> None:
    changes = EXTRA.get(method, [])
    path = interrupted(tmp_path, "round", round_, method, *changes)
    assert_same(resume(path), whole(method, *changes))


@pytest.mark.parametrize(
    ("kind", "round_"), [("cohort", 0), ("cohort", 3), ("evaluated", -1), ("evaluated", 2), ("run_started", None)]
)
@pytest.mark.parametrize("method", ["fedavg", "local"])
def test_stop_in_the_middle_of_anything(tmp_path: Path, whole: Any, kind: str, round_: int, method: str) -> None:
    path = interrupted(tmp_path, kind, round_, method)
    assert_same(resume(path), whole(method))


def test_stop_many_times(tmp_path: Path, whole: Any) -> None:
    path = interrupted(tmp_path, "cohort", 1, "local", *HARD)
    for kind, round_ in (("round", 1), ("evaluated", 2), ("cohort", 3)):
        with pytest.raises(KeyboardInterrupt):
            resume(path, [stop_at(kind, round_)])
    assert_same(resume(path), whole("local", *HARD))


KILLER = """
import os, signal, sys
from runs import small
from synoptic.experiment.runner import run
kind, round_ = sys.argv[2], int(sys.argv[3])
def kill(event):
    if event["type"] == kind and event.get("round") == round_:
        os.kill(os.getpid(), signal.SIGKILL)
run(small(sys.argv[1], sys.argv[4]), [kill])
"""


@pytest.mark.parametrize("method", ["fedavg", "local"])
def test_sigkill_at_a_random_round(tmp_path: Path, whole: Any, method: str) -> None:
    draw = random.Random(method)
    kind, round_ = draw.choice(["cohort", "round", "evaluated"]), draw.randrange(1, 4)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    killed = subprocess.run(
        [sys.executable, "-c", KILLER, str(tmp_path), kind, str(round_), method],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (path,) = tmp_path.iterdir()
    assert not (path / "summary.json").exists()
    assert_same(resume(path), whole(method))


@pytest.mark.parametrize("method", ["fedavg", "local"])
@pytest.mark.parametrize("damage", [lambda b: b[:-7], lambda b: b""], ids=["truncated", "empty"])
def test_a_damaged_newest_checkpoint_costs_one_round(tmp_path: Path, whole: Any, method: str, damage: Any) -> None:
    path = interrupted(tmp_path, "cohort", 3, method)
    newest = sorted((path / "checkpoints").iterdir())[-1]
    newest.write_bytes(damage(newest.read_bytes()))
    told: list[dict[str, Any]] = []
    assert_same(resume(path, [told.append]), whole(method))
    assert [event["first_round"] for event in told if event["type"] == "run_started"] == [2]
    (skipped,) = [event for event in told if event["type"] == "checkpoint_skipped"]
    assert newest.name in skipped["reason"]


def test_two_damaged_checkpoints_of_three_cost_two_rounds(tmp_path: Path, whole: Any) -> None:
    path = interrupted(tmp_path, "cohort", 3, "local", "keep=3")
    for newest in sorted((path / "checkpoints").iterdir())[-2:]:
        newest.write_bytes(b"broken")
    assert_same(resume(path), whole("local", "keep=3"))


def test_all_checkpoints_damaged_is_one_sentence_and_the_run_is_preserved(tmp_path: Path) -> None:
    path = interrupted(tmp_path, "cohort", 2, "fedavg")
    for checkpoint in (path / "checkpoints").iterdir():
        checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(SynopticError, match=r"holds no readable checkpoint .*; start the run anew\.$") as caught:
        resume(path)
    assert "\n" not in str(caught.value)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_a_finished_run_is_only_told_again(tmp_path: Path) -> None:
    first = run(small(tmp_path, "fedavg", "rounds=1"))
    content = (first.folder / "events.jsonl").read_bytes()
    again = resume(first.folder)
    assert again.summary == first.summary
    assert (first.folder / "events.jsonl").read_bytes() == content


def test_resuming_keeps_the_threads_and_the_stack(tmp_path: Path) -> None:
    path = interrupted(tmp_path, "round", 1, "fedavg")
    before = read_json(path / "environment.json")
    assert (before["threads"], before["stack"]) == (1, 2)
    assert resume(path).summary["environment"] == before


@pytest.mark.parametrize("what", ["missing", "empty", "file"])
def test_what_is_no_run_folder_is_one_sentence(tmp_path: Path, what: str) -> None:
    path = tmp_path / what
    if what == "empty":
        path.mkdir()
    elif what == "file":
        path.write_text("")
    with pytest.raises(SynopticError, match=r"run folder.*; give the path that the run printed\."):
        resume(path)


def test_other_weights_under_the_same_name_are_refused(tmp_path: Path) -> None:
    path = interrupted(tmp_path, "round", 1, "fedavg")
    known = read_json(path / "environment.json")
    write_json(path / "environment.json", {**known, "base": "0123456789abcdef"})
    with pytest.raises(SynopticError, match=r"'tiny-clip' was 0123456789abcdef and is now .*put the old weights"):
        resume(path)


def test_an_adapter_that_does_not_fit_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(SynopticError, match="rank 4000 exceeds"):
        run(small(tmp_path, "fedavg", "adapter.vision.lora.rank=4000"))
    assert not any(tmp_path.iterdir())


def test_a_stop_before_the_first_event_is_passed_on_and_the_run_can_go_on(
    tmp_path: Path, whole: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as early:
        early.setattr(Session, "_start", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(small(tmp_path))
    (path,) = tmp_path.iterdir()
    assert_same(resume(path), whole("fedavg"))
