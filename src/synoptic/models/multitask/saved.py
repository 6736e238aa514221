"""Blocks of a modality-task model in a folder of their own: out, in, and as a model.

``blocks.safetensors`` holds the blocks by tensor names, for PEFT has no names for them; ``tasks.json`` says what they
were trained on and which tasks they are for. Together with the base they are the whole model.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError
from tensordict import TensorDict

from synoptic.adapters.stack import adapter, leaves, names
from synoptic.core import Section, SynopticError
from synoptic.core.files import read_json, read_tensors, write_bytes, write_json, write_tensors, write_text
from synoptic.data.tasks import Task
from synoptic.models.dual_encoder import DualEncoder
from synoptic.models.multitask.model import MultiTask
from synoptic.models.multitask.spec import MultiTaskSpec

BLOCKS, TASKS, CARD = "blocks.safetensors", "tasks.json", "README.md"


class TaskNote(Section):
    """What ``tasks.json`` holds.

    Attributes:
        base, fingerprint: the frozen base.
        spec: sizes of the blocks.
        tasks: those for which all blocks are there; none where an adapter is only a part of a model.
    """

    format: int = 1
    base: str
    fingerprint: str
    spec: MultiTaskSpec
    tasks: tuple[Task, ...]


def save_blocks(one: TensorDict, folder: Path, model: MultiTask) -> None:
    """Write one client's or everybody's blocks (batch size ``[]``).

    Args:
        one: the blocks.
        folder: where to write.
        model: what wears them; of its tasks those are named that the blocks suffice for.
    """
    base = model.base
    note = TaskNote(base=base.name, fingerprint=base.fingerprint, spec=model.spec, tasks=served(one, model))
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / BLOCKS, leaves(one), {"format": "pt", "base": note.fingerprint})
    write_json(folder / TASKS, note.model_dump(mode="json"))


def copy_blocks(folder: Path, target: Path, base: str, card: str) -> None:
    """The same blocks in another folder.

    Args:
        folder: written by `save_blocks`.
        target: where to write.
        base: what the base is called there.
        card: text of its ``README.md``.
    """
    note = read_task_note(folder)
    write_bytes(target / BLOCKS, (folder / BLOCKS).read_bytes())
    write_json(target / TASKS, note.model_copy(update={"base": base}).model_dump(mode="json"))
    write_text(target / CARD, card)


def served(one: TensorDict, model: MultiTask) -> tuple[Task, ...]:
    """The tasks for which all blocks are there."""
    there = set(names(one))
    return tuple(task for name, task in model.tasks.items()
                 if all(set(shapes) <= there for shapes in model.blocks([name]).values()))  # fmt: skip


def read_task_note(folder: Path) -> TaskNote:
    """What a folder says about its blocks.

    Raises:
        SynopticError: the file is missing or damaged.
    """
    path = folder / TASKS
    try:
        return TaskNote.model_validate(read_json(path))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "its top level"
        raise SynopticError(f"{path} is damaged at {where}", "write the folder anew") from error


def read_blocks(folder: Path) -> tuple[TensorDict, TaskNote]:
    """The blocks of a folder, and what it says about them; the base is not needed.

    Raises:
        SynopticError: a file is missing or damaged, or blocks of another base.
    """
    note = read_task_note(folder)
    tensors, written = read_tensors(folder / BLOCKS)
    if written.get("base") != note.fingerprint:
        raise SynopticError(f"{folder / BLOCKS} is of the base {written.get('base')}, and {TASKS} names "
                            f"{note.fingerprint}", "take both files from one folder")  # fmt: skip
    return adapter(tensors), note


def open_blocks(folder: Path, base: DualEncoder) -> tuple[MultiTask, TensorDict]:
    """The model of a folder, and the blocks for it to wear (batch size ``[]``).

    Raises:
        SynopticError: another base than the blocks were trained on; no task that they suffice for, blocks that are
            missing or of another shape.
    """
    one, note = read_blocks(folder)
    if base.fingerprint != note.fingerprint:
        raise SynopticError(f"the blocks in {folder} were trained on {note.base} ({note.fingerprint}), and "
                            f"{base.name} is {base.fingerprint}", "load the base that they name")  # fmt: skip
    if not note.tasks:
        raise SynopticError(f"the blocks in {folder} suffice for no task by themselves", "take another adapter")
    model = MultiTask(base, note.tasks, note.spec)
    wanted = {name: shape for shapes in model.blocks(model.tasks).values() for name, shape in shapes.items()}
    for name, shape in wanted.items():
        found = tuple(one[name].shape) if name in names(one) else None
        if found != shape:
            raise SynopticError(f"{folder / BLOCKS} has {name} {'of shape ' + str(found) if found else 'nowhere'}, "
                                f"and its tasks need {shape}", "write the folder anew")  # fmt: skip
    return model, one
