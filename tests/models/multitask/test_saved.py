"""Blocks in a folder: what comes back is what went in, and what does not fit is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers import base
from rooms import same
from synoptic.adapters.stack import expand, leaves, names
from synoptic.core import SynopticError
from synoptic.core.files import read_json, read_tensors, write_json, write_tensors
from synoptic.models.multitask.saved import BLOCKS, TASKS, open_blocks, read_blocks, save_blocks, served
from tasking import TASKS as ALL
from tasking import drawn, inputs, multitask, output


def saved(folder: Path, *tasks: str) -> Path:
    """Random blocks of a client with these tasks."""
    save_blocks(drawn(multitask(), tasks, 1)[0], folder, multitask())
    return folder


@pytest.mark.parametrize("name", ALL)
def test_a_model_from_a_folder_does_what_the_saved_one_does(tmp_path: Path, name: str) -> None:
    one = drawn(multitask(), [name], 1)[0]
    save_blocks(one, tmp_path, multitask())
    model, there = open_blocks(tmp_path, base())
    assert same(there, one)
    assert list(model.tasks) == [name]
    given = inputs(name, 3)
    outputs = []
    for which in (multitask(), model):
        worn = leaves(expand(there, 1))
        outputs.append(output(which, worn, name, which.read(worn, name, **given)))  # type: ignore[arg-type]
    assert torch.equal(*outputs)


def test_it_knows_for_which_tasks_it_suffices(tmp_path: Path) -> None:
    model = multitask()
    one = drawn(model, ["shapes", "echo"], 1)[0]
    assert [task.name for task in served(one, model)] == ["shapes", "echo"]
    part = one.select(*(name for name in names(one) if not name.startswith("head/")))
    save_blocks(part, tmp_path, model)
    assert read_blocks(tmp_path)[1].tasks == ()
    with pytest.raises(SynopticError, match="suffice for no task by themselves"):
        open_blocks(tmp_path, base())


def sentence(folder: Path, family: str = "clip") -> str:
    with pytest.raises(SynopticError) as caught:
        open_blocks(folder, base(family))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_another_base_is_refused(tmp_path: Path) -> None:
    assert "were trained on" in sentence(saved(tmp_path, "shapes"), "siglip")


def test_damage_is_told(tmp_path: Path) -> None:
    folder = saved(tmp_path / "missing", "shapes")
    tensors, note = read_tensors(folder / BLOCKS)
    write_tensors(folder / BLOCKS, {name: each for name, each in tensors.items() if name != "head/shapes/bias"}, note)
    assert "has head/shapes/bias nowhere, and its tasks need (3,)" in sentence(folder)

    folder = saved(tmp_path / "shape", "shapes")
    write_tensors(folder / BLOCKS, tensors | {"head/shapes/bias": torch.zeros(2)}, note)
    assert "has head/shapes/bias of shape (2,), and its tasks need (3,)" in sentence(folder)

    folder = saved(tmp_path / "note", "shapes")
    write_json(folder / TASKS, read_json(folder / TASKS) | {"tasks": "shapes"})
    assert "is damaged at tasks; write the folder anew" in sentence(folder)

    folder = saved(tmp_path / "mixed", "shapes")
    write_json(folder / TASKS, read_json(folder / TASKS) | {"fingerprint": "0" * 16})
    assert "take both files from one folder" in sentence(folder)

    (folder / BLOCKS).unlink()
    assert BLOCKS in sentence(folder)
