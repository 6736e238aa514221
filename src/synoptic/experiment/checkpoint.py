"""Checkpoints: one safetensors file a round, written atomically; the last few are kept."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synoptic.core import SynopticError
from synoptic.core.files import write_bytes
from synoptic.federation.message import Field, decode, encode
from synoptic.federation.personal import PersonalStore

STATE = "state."


@dataclass
class Progress:
    """What a run must remember besides the method's state.

    Attributes:
        round: rounds that are done.
        ledger: bytes so far.
        seconds: spent so far, by activity.
        work: optimiser steps and training examples so far, of clients and of the server.
        logged: of every number that the method logs, its sum over rounds and in how many rounds it was there.
        before: metrics of the untouched start.
        metrics, clients: of the last evaluation.
        events_size: bytes of the event log that belong to the rounds done.
        personal: version of each client's personal state.
        failed: failed rounds in a row.
    """

    round: int = 0
    ledger: dict[str, dict[str, int]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    work: dict[str, float] = field(default_factory=dict)
    logged: dict[str, list[float]] = field(default_factory=dict)
    before: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    clients: dict[str, dict[str, float]] = field(default_factory=dict)
    events_size: int = 0
    personal: dict[int, int] = field(default_factory=dict)
    failed: int = 0


def save_checkpoint(folder: Path, state: bytes, progress: Progress, keep: int) -> None:
    """Write the checkpoint of ``progress.round`` rounds and remove all but the newest ``keep``."""
    fields: dict[str, Field] = {f"{STATE}{name}": value for name, value in decode(state).items()}
    fields["progress"] = json.dumps(progress.__dict__)
    write_bytes(folder / f"round-{progress.round:05d}.safetensors", encode(fields))
    # Newer ones are damaged leftovers of the attempt that this run was resumed from.
    known = list_checkpoints(folder)
    mine = known.index(folder / f"round-{progress.round:05d}.safetensors")
    for old in [*known[: max(0, mine + 1 - keep)], *known[mine + 1 :]]:
        old.unlink()


def list_checkpoints(folder: Path) -> list[Path]:
    """Checkpoint files, oldest first."""
    return sorted(folder.glob("round-*.safetensors"))


def load_checkpoint(path: Path) -> tuple[bytes, Progress]:
    """State and progress of one file.

    Raises:
        SynopticError: the file is damaged.
    """
    try:
        fields = decode(path.read_bytes())
        content: dict[str, Any] = json.loads(str(fields["progress"]))
        content["personal"] = {int(client): version for client, version in content["personal"].items()}
        progress = Progress(**content)
    except (SynopticError, OSError, KeyError, ValueError, TypeError) as error:
        raise SynopticError(f"the checkpoint {path} is damaged ({error})", "resume from an older one") from error
    state = {name.removeprefix(STATE): value for name, value in fields.items() if name.startswith(STATE)}
    return encode(state), progress


def newest_checkpoint(folder: Path) -> tuple[bytes, Progress, list[str]]:
    """The newest readable checkpoint, and a sentence for each newer one that is damaged.

    Raises:
        SynopticError: none can be read.
    """
    damaged: list[str] = []
    for path in reversed(list_checkpoints(folder)):
        try:
            return *load_checkpoint(path), damaged
        except SynopticError as error:
            damaged.append(str(error))
    raise SynopticError(f"{folder} holds no readable checkpoint" + (f" ({damaged[0]})" if damaged else ""),
                        "start the run anew")  # fmt: skip


def clean_personal(folder: Path, store: PersonalStore) -> None:
    """Remove versions of personal state that no kept checkpoint names."""
    store.clean([load_checkpoint(path)[1].personal for path in list_checkpoints(folder)])
