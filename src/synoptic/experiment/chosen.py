"""What a user named to try out: an adapter, a run, an export or a base; and the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from synoptic.adapters.peft_card import is_hub_id
from synoptic.adapters.peft_io import CONFIG, NOTE, Words, read_note
from synoptic.core import SynopticError
from synoptic.core.errors import listing, nearest
from synoptic.core.files import read_json
from synoptic.data.tasks import Task
from synoptic.experiment.delivered import finished, personal, read_about, shared
from synoptic.models.load import embedded
from synoptic.models.multitask.saved import BLOCKS, read_task_note

MODEL = "config.json"


@dataclass(frozen=True)
class Chosen:
    """What the user named.

    Attributes:
        folder: of the adapter; None is the base alone.
        base: what it is for.
        words: what it tells apart, if known.
        tasks: what it can do, if it is of several tasks.
    """

    folder: Path | None
    base: str
    words: Words | None
    tasks: tuple[Task, ...] = ()


def choose(adapter: str | Path, base: str | None = None, client: str | None = None) -> Chosen:
    """Find the adapter and its base. Nothing large is read.

    Raises:
        SynopticError: neither an adapter, nor a run, nor a model; or a client that it does not have.
    """
    path = Path(adapter).expanduser()
    if (path / "recipe.yaml").exists():
        return _of_run(path, base, client)
    if (path / "shared").is_dir() or (path / "personal").is_dir():
        return _of_export(path, base, client)
    if client is not None:
        raise SynopticError(f"{adapter} is not a run, so it has no clients to choose from", "leave out --client")
    if (path / BLOCKS).exists():
        return _of_blocks(path, base)
    if (path / CONFIG).exists() or ((path / NOTE).exists() and not (path / MODEL).exists()):
        return _of_adapter(path, base)
    return _of_model(str(adapter), path, base)


def _of_run(path: Path, base: str | None, client: str | None) -> Chosen:
    run = finished(path)
    about = read_about(run)
    which = shared(run, about) if client is None else personal(run, about, client)
    if which is None and about.personal:
        raise SynopticError(f"every client of the run {run.name} has its own adapter",
                            f"choose with --client among {listing(about.personal.values())}")  # fmt: skip
    if which is not None and which.in_blocks:
        return _of_blocks(which.folder, base or run.recipe["model"])
    # A run that trained nothing is its base.
    return Chosen(which.folder if which is not None else None, base or run.recipe["model"], about.words)


def _of_export(path: Path, base: str | None, client: str | None) -> Chosen:
    if client is None and (path / "shared").is_dir():
        return _of_adapter(path / "shared", base)
    own = {folder.name: folder for folder in sorted((path / "personal").glob("*")) if folder.is_dir()}
    if client in own:
        return _of_adapter(own[client], base)
    if not own:
        raise SynopticError(f"{path} has no adapter of a client '{client}': it holds the shared one alone",
                            "export with --client, or leave it out here")  # fmt: skip
    what = f"{path} has no adapter of a client '{client}'" if client else f"{path} has several clients' own adapters"
    raise SynopticError(what, f"choose with --client among {listing(own)}")


def _of_adapter(folder: Path, base: str | None) -> Chosen:
    if (folder / BLOCKS).exists():
        return _of_blocks(folder, base)
    note = read_note(folder)
    named = note.base if note is not None else read_json(folder / CONFIG).get("base_model_name_or_path")
    which = f"{named} ({note.fingerprint})" if note is not None else named or "a base that it does not name"
    return Chosen(folder, base or _here(folder, named, which), note.words if note is not None else None)


def _of_blocks(folder: Path, base: str | None) -> Chosen:
    note = read_task_note(folder)
    where = base or _here(folder, note.base, f"{note.base} ({note.fingerprint})")
    return Chosen(folder, where, None, note.tasks)


def _here(folder: Path, named: str | None, which: str) -> str:
    if not named or not _reachable(named):
        raise SynopticError(f"the adapter in {folder} was made for {which}, which is not here",
                            "say where it is with --base")  # fmt: skip
    return named


def _of_model(name: str, path: Path, base: str | None) -> Chosen:
    if path.is_dir() and not (path / MODEL).exists():
        raise SynopticError(f"{name} is neither an adapter nor a run nor a model", f"point to a folder with {CONFIG}")
    if not _reachable(name):
        known = {*embedded(), *(entry.name for entry in path.parent.glob("*") if entry.is_dir())}
        close = nearest(path.name, known) if known else ""
        raise SynopticError(f"there is no adapter, run or model {name}",
                            close if close.endswith("?") else "give a folder, or the name of a base")  # fmt: skip
    if base is not None:
        raise SynopticError(f"{name} is a base itself", "leave out --base")
    note = read_note(path) if path.is_dir() else None
    return Chosen(None, name, note.words if note is not None else None)


def _reachable(base: str) -> bool:
    """Whether a base's name is an embedded one, a folder, or can only be the hub's."""
    path = Path(base).expanduser()
    return base in embedded() or path.is_dir() or (is_hub_id(base) and not path.parent.exists())


def refuse_tasks(chosen: Chosen, adapter: str | Path) -> None:
    """Refuse an adapter of several tasks, which needs to be told which.

    Raises:
        SynopticError: it is one.
    """
    if chosen.tasks or (chosen.folder is not None and (chosen.folder / BLOCKS).exists()):
        raise SynopticError(f"the adapter in {chosen.folder} is of several tasks", "say which: "
                            f"synoptic task {adapter}")  # fmt: skip


def existing(images: Sequence[str | Path]) -> list[Path]:
    """Picture files that are there.

    Raises:
        SynopticError: no picture, a folder, or a file that does not exist.
    """
    paths = [Path(image).expanduser() for image in images]
    if not paths:
        raise SynopticError("no picture was given", "name at least one file")
    for path in paths:
        if path.is_dir():
            raise SynopticError(f"{path} is a folder, not a picture", f"name the files, such as {path}/*.png")
        if not path.is_file():
            raise SynopticError(f"there is no picture {path}", "check the path")
    return paths


def is_here(base: str) -> bool:
    """Whether a base is on this machine for sure: embedded, or a folder."""
    return base in embedded() or Path(base).expanduser().is_dir()


def base_alone(base: str) -> str:
    """What a base without an adapter is called in a sentence."""
    # A mistyped folder may look like an id of the hub.
    return f"the base {base} alone" if is_here(base) else f"{base} (no folder here, so a model of the hub)"
