"""Personal state: what a client keeps between rounds and never sends.

Only clients that were ever asked have any; on disk each has one file per committed version, so memory follows the
cohort and a checkpoint can name the exact versions it belongs to.

Legend: K clients of the cohort.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.stack import expand, leaves, stack_of
from synoptic.core import SynopticError
from synoptic.core.files import digest, write_bytes
from synoptic.federation.message import Field, decode, encode

Entry = dict[str, Field]
Shown = TypeVar("Shown", TensorDict, Tensor)


class PersonalStore:
    """Personal state of all clients, by client number.

    Args:
        folder: where committed versions lie; None keeps everything in memory (tests, short experiments).
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._changed: dict[int, Entry] = {}
        self._kept: dict[int, Entry] = {}
        self.versions: dict[int, int] = {}

    def load(self, client: int) -> Entry:
        """A client's fields, empty if it has none."""
        if client in self._changed:
            return self._changed[client]
        if client in self.versions and self._folder is not None:
            path = self._path(client, self.versions[client])
            try:
                return decode(path.read_bytes())
            except (OSError, SynopticError) as error:
                raise SynopticError(f"the personal state of client {client} in {path} is missing or damaged",
                                    "resume from an older checkpoint, or start the run anew") from error  # fmt: skip
        return self._kept.get(client, {})

    def store(self, client: int, entry: Entry) -> None:
        """Remember fields until the next commit."""
        self._changed[client] = entry

    def commit(self, round_: int) -> None:
        """Write what changed as version ``round_``; without a folder, keep it in memory."""
        if self._folder is None:
            self._kept |= self._changed
        else:
            for client, entry in self._changed.items():
                write_bytes(self._path(client, round_), encode(entry))
                self.versions[client] = round_
        self._changed.clear()

    def undo(self) -> None:
        """Forget what changed since the last commit."""
        self._changed.clear()

    def clean(self, wanted: Sequence[dict[int, int]]) -> None:
        """Remove files that none of the wanted version tables names."""
        if self._folder is None or not self._folder.exists():
            return
        keep = {self._path(client, round_).name for table in wanted for client, round_ in table.items()}
        for path in self._folder.glob("*.safetensors"):
            if path.name not in keep:
                path.unlink()

    def clients(self) -> list[int]:
        """Everybody who has personal state, ascending."""
        return sorted({*self._changed, *self._kept, *self.versions})

    def hash(self) -> str:
        """Content hash of everybody's state."""
        return digest(*(part for client in self.clients() for part in (str(client), encode(self.load(client)))))

    def _path(self, client: int, round_: int) -> Path:
        assert self._folder is not None
        return self._folder / f"{client:07d}-r{round_:05d}.safetensors"


class Personal:
    """A cohort's view of its clients' personal state, side by side: ``cohort.personal["adapter"]`` is a stack ``[K]``.

    Writes are staged; the federation commits them when the task has succeeded.
    """

    def __init__(self, store: PersonalStore, clients: Sequence[int]) -> None:
        self._store = store
        self._clients = list(clients)
        self.entries: list[Entry] = [dict(store.load(client)) for client in self._clients]
        # Storages of personal stacks that the task has in its hands; held, so that their addresses stay theirs.
        self._shown: dict[int, Tensor] = {}

    def get(self, name: str, default: TensorDict | Tensor) -> TensorDict | Tensor:
        """The field as a stack ``[K]``; a client that has none yet gets ``default``.

        Args:
            name: of the field.
            default: one value for all, or adapters as a stack ``[K]``, one for each.
        """
        each = isinstance(default, TensorDict) and bool(default.batch_dims)
        values = [entry.get(name, default[k] if each else default) for k, entry in enumerate(self.entries)]
        if isinstance(default, TensorDict):
            if not any(name in entry for entry in self.entries):
                return default if each else expand(default, len(values))
            return self._show(stack_of([value for value in values if isinstance(value, TensorDict)]))
        return self._show(torch.stack([value for value in values if isinstance(value, Tensor)]))

    def adapter(self, name: str, default: TensorDict) -> TensorDict:
        """`get` for adapters."""
        stack = self.get(name, default)
        assert isinstance(stack, TensorDict)
        return stack

    def __contains__(self, name: str) -> bool:
        return all(name in entry for entry in self.entries)

    def __setitem__(self, name: str, stack: TensorDict | Tensor | list[TensorDict]) -> None:
        if len(stack) != len(self._clients):
            raise SynopticError(f"personal '{name}' has {len(stack)} rows for {len(self._clients)} clients",
                                "assign a stack with one row for each client of the cohort")  # fmt: skip
        for shown in stack if isinstance(stack, list) else [stack]:
            self._show(shown)
        for place, entry in enumerate(self.entries):
            entry[name] = stack[place].detach().clone()

    def commit(self) -> None:
        """Hand the staged fields to the store."""
        for client, entry in zip(self._clients, self.entries, strict=True):
            if entry:
                self._store.store(client, entry)

    def part(self, places: Sequence[int]) -> Personal:
        """Some of the clients, with the same entries: what is written here is written there."""
        part = Personal.__new__(Personal)
        part._store, part._shown = self._store, self._shown
        part._clients = [self._clients[place] for place in places]
        part.entries = [self.entries[place] for place in places]
        return part

    def holds(self, adapter: TensorDict) -> bool:
        """Whether any tensor of an adapter is, or is a view of, personal state that the task has in its hands."""
        return any(tensor.untyped_storage().data_ptr() in self._shown for tensor in leaves(adapter).values())

    def leak(self, place: int, tensor: Tensor, of_broadcast: bool = False) -> str | None:
        """The name of the personal tensor that ``tensor`` is, is a view of, or equals; None when it is none of them.

        What was trained from a broadcast alone (``of_broadcast``) may equal one, but not be one.

        Tensors of one repeated value (fresh zeros, scales) say nothing about anybody and pass.
        """
        if not self.entries[place] and not self._shown:
            return None
        if tensor.numel() == 0 or not bool((tensor != tensor.flatten()[0]).any()):
            return None
        if tensor.untyped_storage().data_ptr() in self._shown:
            return "a view of personal state"
        if of_broadcast:
            return None
        for name, field in self.entries[place].items():
            for key, part in _parts(name, field).items():
                if _same(part, tensor):
                    return key
        return None

    def _show(self, stack: Shown) -> Shown:
        for tensor in leaves(stack).values() if isinstance(stack, TensorDict) else (stack,):
            self._shown[tensor.untyped_storage().data_ptr()] = tensor
        return stack


def _parts(name: str, field: Field) -> dict[str, Tensor]:
    if isinstance(field, TensorDict):
        return {f"{name}/{key}": part for key, part in leaves(field).items()}
    return {name: field} if isinstance(field, Tensor) else {}


def _same(personal: Tensor, tensor: Tensor) -> bool:
    """Whether both hold the same values in the same order, however they are cut into axes."""
    if personal.numel() != tensor.numel():
        return False
    return bool(torch.equal(personal.flatten(), tensor.flatten().to(personal.dtype)))
