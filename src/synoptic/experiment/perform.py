"""Doing a task with a model of several tasks, on rows of one's own or on a run's own test rows."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from synoptic.adapters.stack import expand, leaves
from synoptic.core import SynopticError
from synoptic.core.errors import nearest
from synoptic.core.files import write_bytes
from synoptic.core.seeds import numpy_generator
from synoptic.data import manifest
from synoptic.data.images import ImageStore
from synoptic.data.table import FileImages
from synoptic.data.tasks import Task, TaskData
from synoptic.experiment.ask import TOKENS, paired
from synoptic.experiment.chosen import Chosen, base_alone, choose, existing
from synoptic.experiment.delivered import finished
from synoptic.experiment.predict import Guess, best
from synoptic.experiment.recipe import read_recipe
from synoptic.models.dual_encoder import DualEncoder
from synoptic.models.load import shared_model
from synoptic.models.multitask import MultiTask, open_blocks

BATCH = 64

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Result:
    """What came of one row.

    Attributes:
        picture: file, or table and row; None where the task reads no picture.
        text: what was read; None where the task reads none.
        top: likeliest labels, likeliest first; empty for other kinds.
        written: the text of a task that writes.
        error: mean squared error of a reconstruction, in normalised pixels.
        drawn: the reconstructed picture, uint8 ``[H, W, 3]``.
        file: where it was written.
        truth: the right label or text; None where nobody knows it, and for pictures.
    """

    picture: str | None
    text: str | None
    top: tuple[Guess, ...] = ()
    written: str | None = None
    error: float | None = None
    drawn: NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)
    file: Path | None = None
    truth: str | None = None


@dataclass(frozen=True)
class Performed:
    """All results of one task, and the base of the model that gave them."""

    base: str
    fingerprint: str
    task: Task
    results: tuple[Result, ...]


@dataclass(frozen=True)
class How:
    """How results are given.

    Attributes:
        top: how many labels of each row.
        tokens: how long a text may grow, its end included.
        out: the folder for reconstructed pictures.
    """

    top: int = 3
    tokens: int = TOKENS
    out: Path | None = None


def tasks_of(adapter: str | Path, base: str | None = None, client: str | None = None) -> tuple[Task, ...]:
    """What an adapter can do.

    Raises:
        SynopticError: no such adapter, or one that is not of several tasks.
    """
    return _chosen(adapter, base, client).tasks


def perform(
    adapter: str | Path, name: str | None, images: Sequence[str | Path], texts: Sequence[str],
    base: str | None = None, client: str | None = None, how: How | None = None,
) -> Performed:  # fmt: skip
    """Do a task on pictures and texts of one's own.

    Args:
        adapter: the folder of a run, an export, or a folder of blocks.
        name: of the task; None where the model has one alone.
        images: picture files, if the task reads pictures.
        texts: texts, if it reads these; of both, one for all of the other or as many.
        base: where the adapter's base lies, if not where the adapter says.
        client: whose adapter, where clients have their own: name or number.
        how: how results are given.

    Raises:
        SynopticError: no such adapter or task; something that the task reads is missing, or it does not read what is
            given; pictures to write and no folder for them.
    """
    chosen = _chosen(adapter, base, client)
    task, how = _named(chosen.tasks, name, adapter), how or How()
    _check_given(task, images, texts)
    _check_out(task, how)
    if task.modalities == ("image", "text"):
        paths, said = paired(existing(images), texts)
    else:
        paths, said = existing(images) if images else [], list(texts)
    rows = [Result(str(paths[i]) if paths else None, said[i] if said else None) for i in range(len(paths or said))]
    return _performed(chosen, task, FileImages(tuple(paths)) if paths else None, rows, how)


def perform_tests(
    run: str | Path, name: str | None, count: int, client: str | None = None, how: How | None = None
) -> Performed:
    """Do a task on a run's own test rows, drawn by lot from a stream of its seed.

    Args:
        run: folder of a finished run.
        name: of the task; None where there is one alone.
        count: how many rows; 0 is all.
        client: this client's own adapter and test rows; without it the shared adapter and everybody's.
        how: how results are given.

    Raises:
        SynopticError: no such run, client or task, or a client without test rows of it.
    """
    record = finished(Path(run).expanduser())
    chosen, how = _chosen(run, None, client), how or How()
    task = _named(chosen.tasks, name, run)
    _check_out(task, how)
    data = manifest.load(record.folder.manifest, read_recipe(record.folder.recipe).data)
    assert isinstance(data, TaskData)
    pool = _tests(data, task, client)
    if 0 < count < len(pool):
        pool = np.sort(numpy_generator(record.seed, "task", task.name).choice(pool, count, replace=False))
    table = data.test.take(pool)
    words = table.words
    assert words is not None
    rows = [Result(f"{data.test.name} {row}" if "image" in task.modalities else None,
                   words.questions[i] if "text" in task.modalities else None,
                   truth=words.answers[i] if task.kind != "reconstruct" else None)
            for i, row in enumerate(pool)]  # fmt: skip
    return _performed(chosen, task, table.images if "image" in task.modalities else None, rows, how)


def _check_out(task: Task, how: How) -> None:
    """Refuse pictures without a folder, and a folder without pictures.

    Raises:
        SynopticError: either.
    """
    if task.kind == "reconstruct" and how.out is None:
        raise SynopticError(f"task '{task.name}' makes pictures", "say where to write them: --out FOLDER")
    if task.kind != "reconstruct" and how.out is not None:
        raise SynopticError(f"task '{task.name}' makes no pictures", "leave out --out")


def _chosen(adapter: str | Path, base: str | None, client: str | None) -> Chosen:
    chosen = choose(adapter, base, client)
    if not chosen.tasks:
        what = base_alone(chosen.base) if chosen.folder is None else f"the adapter in {chosen.folder}"
        raise SynopticError(f"{what} does not have several tasks", f"classify pictures with `synoptic predict "
                            f"{adapter} PICTURE`, or ask with `synoptic ask`")  # fmt: skip
    return chosen


def _named(tasks: Sequence[Task], name: str | None, adapter: str | Path) -> Task:
    known = {task.name: task for task in tasks}
    if name is None and len(known) > 1:
        raise SynopticError(f"{adapter} has the tasks {', '.join(known)}", f"say which: synoptic task {adapter} "
                            f"{next(iter(known))}")  # fmt: skip
    name = next(iter(known)) if name is None else name
    if name not in known:
        close = nearest(name, known)
        raise SynopticError(f"{adapter} has no task '{name}'",
                            close if close.endswith("?") else f"it has {', '.join(known)}")  # fmt: skip
    return known[name]


def _check_given(task: Task, images: Sequence[str | Path], texts: Sequence[str]) -> None:
    for modality, given in (("image", bool(images)), ("text", bool(texts))):
        if given != (modality in task.modalities):
            reads, word = " and ".join(task.modalities), {"image": "picture", "text": "text"}[modality]
            what, fix = (f"a {word} was given", "leave out") if given else (f"no {word} was given", "add")
            raise SynopticError(f"task '{task.name}' reads {reads}, and {what}", f"{fix} --{modality}")
    if any(not text.strip() for text in texts):
        raise SynopticError(f"a text for task '{task.name}' is empty", "write one, or leave it out")


def _tests(data: TaskData, task: Task, client: str | None) -> Ints:
    if client is None:
        return data.tests[f"domain/{task.name}"]
    pool = data.local_rows(data.clients.number(client), f"local/{task.name}")
    if not len(pool):
        raise SynopticError(f"client '{client}' has no test rows of task '{task.name}'", "leave out --client")
    return pool


@torch.no_grad()
def _performed(chosen: Chosen, task: Task, images: ImageStore | None, rows: list[Result], how: How) -> Performed:
    base = shared_model(chosen.base)
    if not isinstance(base, DualEncoder) or chosen.folder is None:
        raise SynopticError(f"{chosen.base} answers questions, and models of several tasks need a dual encoder",
                            "say with --base where the base is that the blocks were trained on")  # fmt: skip
    model, one = open_blocks(chosen.folder, base)
    worn = leaves(expand(one, 1))
    results = [result for start in range(0, len(rows), BATCH)
               for result in _some(model, worn, task, images, rows[start : start + BATCH], start, how)]  # fmt: skip
    if how.out is not None:
        results = list(_written(results, how.out))
    return Performed(base.name, base.fingerprint, task, tuple(results))


def _some(
    model: MultiTask, worn: dict[str, Tensor], task: Task, images: ImageStore | None, rows: Sequence[Result],
    start: int, how: How,
) -> list[Result]:  # fmt: skip
    places = np.arange(start, start + len(rows))
    pixels = model.base.pixels(images.load(places)) if images is not None else None
    texts = [row.text or "" for row in rows] if "text" in task.modalities else None
    seen = model.read(worn, task.name, pixels, texts)
    if task.kind == "classify":
        shares = model.logits(worn, task.name, seen).softmax(-1)
        return [replace(row, top=best(each, task.labels, how.top)) for row, each in zip(rows, shares, strict=True)]
    if task.kind == "generate":
        said = model.writer.write(worn, task, seen, how.tokens)
        return [replace(row, written=text) for row, text in zip(rows, said, strict=True)]
    assert pixels is not None
    made = model.pixels(worn, task.name, seen)
    errors = (made - pixels).square().flatten(1).mean(1).tolist()
    drawn = model.base.preprocess.pictures(made)
    return [replace(row, error=error, drawn=picture) for row, error, picture in zip(rows, errors, drawn, strict=True)]


def _written(results: Sequence[Result], out: Path) -> Iterator[Result]:
    """Pictures as files, numbered, since pictures of two folders may have one name."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for place, result in enumerate(results):
            assert result.drawn is not None
            stem = Path(result.picture or "").stem.replace(" ", "-")
            file, content = out / f"{place:03}-{stem}.png", io.BytesIO()
            if file.exists():
                raise SynopticError(f"{file} exists already", "remove it or set --out to another folder")
            Image.fromarray(result.drawn).save(content, "PNG")
            write_bytes(file, content.getvalue())
            yield replace(result, file=file)
    except OSError as error:
        raise SynopticError(f"{out} cannot be written ({error.strerror or error})",
                            "set --out to a place you can write to") from error  # fmt: skip
