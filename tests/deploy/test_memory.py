from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synoptic.core import SynopticError
from synoptic.deploy.memory import ROUNDS_BACK, NodeMemory
from synoptic.federation.personal import PersonalStore


def add(memory: NodeMemory, round_: int, turn: int, amount: float = 1.0) -> float:
    """A task that counts; what it starts from."""
    store = memory.before([5], round_, turn)
    start = float(store.load(5).get("count", torch.tensor(0.0)))
    store.store(5, {"count": torch.tensor(start + amount)})
    memory.commit(store, round_, turn)
    return start


def test_state_is_found_again_by_another_process(tmp_path: Path) -> None:
    memory = NodeMemory(tmp_path)
    memory.begin("s", 0)
    assert [add(memory, 0, 0), add(memory, 0, 1), add(memory, 1, 0)] == [0.0, 1.0, 2.0]
    again = NodeMemory(tmp_path)
    again.begin("s", 1)
    assert add(again, 1, 1) == 3.0


def test_the_same_question_twice_counts_once(tmp_path: Path) -> None:
    memory = NodeMemory(tmp_path)
    assert [add(memory, 0, 0), add(memory, 0, 1), add(memory, 0, 1), add(memory, 1, 0)] == [0.0, 1.0, 1.0, 2.0]


def test_a_resumed_server_takes_the_node_back_with_it(tmp_path: Path) -> None:
    memory = NodeMemory(tmp_path)
    memory.begin("first", 0)
    for round_ in range(4):
        add(memory, round_, 0)
        add(memory, round_, 1)
    memory.begin("second", 3)
    assert add(memory, 3, 0) == 6.0
    memory.begin("second", 0)
    assert add(memory, 3, 1) == 7.0


def test_what_came_to_nothing_is_taken_back(tmp_path: Path) -> None:
    memory = NodeMemory(tmp_path)
    assert [add(memory, 0, 0), add(memory, 1, 0), add(memory, 1, 1)] == [0.0, 1.0, 2.0]
    memory.undo([(1, 0, 1)])
    assert add(memory, 2, 0) == 1.0
    again = NodeMemory(tmp_path)
    again.undo([(1, 0, 1)])
    assert add(again, 2, 1) == 2.0


@settings(max_examples=12, deadline=None)
@given(turns=st.lists(st.integers(1, 4), min_size=1, max_size=8), back=st.integers(0, ROUNDS_BACK - 1))
def test_few_files_are_kept_and_enough_to_go_back(
    tmp_path_factory: pytest.TempPathFactory, turns: list[int], back: int
) -> None:
    folder = tmp_path_factory.mktemp("memory")
    memory = NodeMemory(folder)
    totals = []
    for round_, count in enumerate(turns):
        totals.append(sum(turns[:round_]))
        for turn in range(count):
            add(memory, round_, turn)
    assert len(list((folder / "personal").iterdir())) <= ROUNDS_BACK + 2
    target = max(0, len(turns) - 1 - back)
    assert add(NodeMemory(folder), target, 0) == totals[target]


def test_uploads_are_counted_over_restarts(tmp_path: Path) -> None:
    NodeMemory(tmp_path).count(["*.loss"])
    NodeMemory(tmp_path).count(["*.loss", "x.y"])
    assert NodeMemory(tmp_path).uploads == {"*.loss": 2, "x.y": 1}


def test_a_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: PersonalStore, round_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PersonalStore, "commit", full)
    with pytest.raises(SynopticError, match="No space left on device"):
        add(NodeMemory(tmp_path), 0, 0)
