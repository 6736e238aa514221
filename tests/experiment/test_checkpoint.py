from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensordict import TensorDict

from rooms import same
from synoptic.core import SynopticError
from synoptic.experiment.checkpoint import (
    Progress,
    clean_personal,
    list_checkpoints,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
)
from synoptic.federation.personal import PersonalStore
from synoptic.federation.state import State


def state(value: float) -> State:
    one = State()
    one.adapter = TensorDict({"w": torch.full((3,), value)}, [])
    one.stage = "sft"
    return one


def saved(folder: Path, rounds: int, keep: int = 2) -> None:
    for done in range(rounds):
        save_checkpoint(folder, state(float(done)).dump(), Progress(round=done, personal={7: done}), keep)


def test_state_and_progress_come_back(tmp_path: Path) -> None:
    progress = Progress(3, {"train.a": {"up": 1, "down": 2}}, {"train": 0.5}, {"shared/base/accuracy/mean": 0.1 + 0.2})
    progress.events_size, progress.personal, progress.failed = 99, {4: 2, 100_000: 3}, 1
    save_checkpoint(tmp_path, state(2.5).dump(), progress, 2)
    content, back, damaged = newest_checkpoint(tmp_path)
    again = State()
    again.load(content)
    assert (back, damaged) == (progress, [])
    assert same(again.adapter, state(2.5).adapter)
    assert again.hash() == state(2.5).hash()


@given(st.integers(1, 5), st.integers(1, 8))
def test_the_newest_few_are_kept(tmp_path_factory: pytest.TempPathFactory, keep: int, rounds: int) -> None:
    folder = tmp_path_factory.mktemp("checkpoints")
    saved(folder, rounds, keep)
    kept = [load_checkpoint(path)[1].round for path in list_checkpoints(folder)]
    assert kept == list(range(rounds))[-keep:]
    assert len(list(folder.iterdir())) == len(kept)


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"x" * 99])
def test_a_damaged_newest_is_passed_over_and_told(tmp_path: Path, damage: object) -> None:
    saved(tmp_path, 3)
    newest = list_checkpoints(tmp_path)[-1]
    newest.write_bytes(damage(newest.read_bytes()))  # type: ignore[operator]
    _, progress, told = newest_checkpoint(tmp_path)
    assert progress.round == 1
    (sentence,) = told
    assert str(newest) in sentence
    assert "\n" not in sentence


def test_all_damaged_is_one_sentence(tmp_path: Path) -> None:
    saved(tmp_path, 3)
    for path in list_checkpoints(tmp_path):
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(SynopticError, match=r"holds no readable checkpoint \(the checkpoint .* is damaged") as caught:
        newest_checkpoint(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_empty_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SynopticError, match="holds no readable checkpoint; start the run anew"):
        newest_checkpoint(tmp_path)


def test_damaged_leftovers_do_not_outlive_the_next_save(tmp_path: Path) -> None:
    saved(tmp_path, 4, keep=4)
    for path in list_checkpoints(tmp_path)[-2:]:
        path.write_bytes(b"broken")
    save_checkpoint(tmp_path, state(2.0).dump(), Progress(round=2), keep=4)
    assert [load_checkpoint(path)[1].round for path in list_checkpoints(tmp_path)] == [0, 1, 2]


def test_personal_versions_that_a_checkpoint_names_are_kept(tmp_path: Path) -> None:
    store = PersonalStore(tmp_path / "personal")
    for version in range(4):
        store.store(7, {"x": torch.ones(2)})
        store.commit(version)
    saved(tmp_path / "checkpoints", 4)
    clean_personal(tmp_path / "checkpoints", store)
    assert sorted(path.name for path in (tmp_path / "personal").iterdir()) == [
        "0000007-r00002.safetensors", "0000007-r00003.safetensors",
    ]  # fmt: skip
