"""A finished run's adapters in folders of their own, each with a model card: for the hub, a colleague, a product."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tensordict import TensorDict

from synoptic.adapters.peft_card import is_hub_id
from synoptic.adapters.peft_io import CARD, CONFIG, NOTE, Note, copy_peft, import_peft, read_note
from synoptic.core import SynopticError
from synoptic.core.files import read_json, write_json, write_text
from synoptic.experiment.card import Subject, write_card
from synoptic.experiment.delivered import About, Delivered, again, finished, personal, read_about, shared
from synoptic.experiment.records import RunRecord
from synoptic.models.load import embedded, load_model
from synoptic.models.merge import check_mergeable, merge, save_merged
from synoptic.models.multitask.saved import BLOCKS, TaskNote, copy_blocks, read_blocks, read_task_note

MERGED = "-merged"
"""What is added to ``shared`` and ``personal`` for whole models."""


def export(run: Path, out: Path, client: str | None = None, merged: bool = False) -> list[Path]:
    """Write a run's adapters as folders with model cards; either all of it is there afterwards or nothing.

    Folders are in PEFT's format; adapters of several tasks, which PEFT does not know, are folders of blocks.

    Args:
        run: folder of a finished run.
        out: where to write; new or empty. ``shared/`` holds everybody's adapter, ``personal/<client>/`` clients' own.
        client: also this client's adapter, by name or number. Without it clients' adapters are written only where
            there is no shared one, and then all.
        merged: also whole models with the adapter in their weights, below ``shared-merged/`` and ``personal-merged/``.

    Returns:
        The folders written.

    Raises:
        SynopticError: the run is not finished, damaged, or has no such adapter; ``out`` is in use or cannot be
            written; with ``merged``, an adapter that weights cannot hold or a base that is not the run's.
    """
    record = finished(run)
    about = read_about(record)
    chosen = _chosen(record, about, client)
    command = _command(record, client, merged)
    written: list[Path] = []
    with whole_or_nothing(out) as place:
        for which in chosen:
            one = _read(record, which)
            _write(record, about, which, one, place / which.place, command)
            written.append(out / which.place)
            if merged:
                below = _merged_place(which)
                _write_merged(record, about, which, one, place / below, command)
                written.append(out / below)
    return written


def public_name(base: str) -> str:
    """What a base is called in files that leave this machine: a folder by its last name only.

    >>> public_name("/models/clip"), public_name("openai/clip-vit-base-patch32"), public_name("tiny-clip")
    ('clip', 'openai/clip-vit-base-patch32', 'tiny-clip')
    """
    return base if is_hub_id(base) or base in embedded() else Path(base).name


def trial(folder: Path) -> str:
    """The command that tries what lies in an exported folder."""
    if (folder / BLOCKS).exists():
        return f"synoptic task {shlex.quote(str(folder))}"
    note = read_note(folder)
    asks = note is not None and note.words is None
    command, more = ("ask", '--image PICTURE --question "..."') if asks else ("predict", "PICTURE")
    return f"synoptic {command} {shlex.quote(str(folder))} {more}"


def _chosen(run: RunRecord, about: About, client: str | None) -> list[Delivered]:
    everybody = shared(run, about)
    chosen = [] if everybody is None else [everybody]
    if client is not None:
        chosen.append(personal(run, about, client))
    elif everybody is None:
        chosen = [personal(run, about, name) for name in about.personal.values()]
    if not chosen:
        raise SynopticError(f"the run {run.name} trained no adapter", "its base is all there is to use: "
                            f"synoptic predict {run.folder.path} PICTURE")  # fmt: skip
    return chosen


def _read(run: RunRecord, which: Delivered) -> TensorDict:
    """The adapter, whole and of the run's own base; the base itself is not needed."""
    note: Note | TaskNote | None
    try:
        if which.in_blocks:
            one, note = read_blocks(which.folder)
        else:
            one, note = import_peft(which.folder), read_note(which.folder)
        base = run.summary["model"]["fingerprint"]
        if note is None or note.fingerprint != base:
            found = "no base" if note is None else f"the base {note.fingerprint}"
            raise SynopticError(f"the adapter in {which.folder} names {found}, and its run {base}")
    except SynopticError as error:
        raise again(run, error) from error
    return one


def _write(run: RunRecord, about: About, which: Delivered, one: TensorDict, place: Path, command: str) -> None:
    base = public_name(run.recipe["model"])
    if which.in_blocks:
        card = write_card(
            Subject(run, about, which, one, base, None, tasks=read_task_note(which.folder).tasks), command
        )
        copy_blocks(which.folder, place, base, card)
        return
    config = which.folder / CONFIG
    family = read_json(config)["auto_mapping"]["base_model_class"] if config.exists() else None
    copy_peft(which.folder, place, base, write_card(Subject(run, about, which, one, base, family), command))


def _write_merged(run: RunRecord, about: About, which: Delivered, one: TensorDict, place: Path, command: str) -> None:
    if which.in_blocks:
        raise SynopticError(f"the adapter in {which.folder} is of several tasks, and its blocks lie beside the weights "
                            "of its base", "leave out --merged")  # fmt: skip
    check_mergeable(one)
    model = load_model(run.recipe["model"])
    import_peft(which.folder, model)
    merge(model, one)
    save_merged(model, place)
    base = public_name(run.recipe["model"])
    note = Note(base=base, fingerprint=run.summary["model"]["fingerprint"], words=about.words)
    write_json(place / NOTE, note.model_dump(mode="json"))
    subject = Subject(run, about, which, one, base, type(model.model).__name__, merged=True)
    write_text(place / CARD, write_card(subject, command))


def _merged_place(which: Delivered) -> Path:
    first, *rest = which.place.parts
    return Path(first + MERGED, *rest)


def _command(run: RunRecord, client: str | None, merged: bool) -> str:
    """What was typed, without the client's name."""
    words = ["synoptic export", run.name, *(["--client CLIENT"] if client else []), *(["--merged"] if merged else [])]
    return " ".join(words)


@contextmanager
def whole_or_nothing(out: Path) -> Iterator[Path]:
    """A folder to fill, which becomes ``out`` when all went well."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SynopticError(f"{out} exists already", "remove it or set --out to another folder")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as beside:
            place = Path(beside) / "whole"
            place.mkdir()
            yield place
            if out.exists():
                out.rmdir()
            place.replace(out)
    except OSError as error:
        raise SynopticError(f"{out} cannot be written ({error.strerror or error})",
                            "set --out to a place you can write to") from error  # fmt: skip
