"""Messages: named fields that cross the boundary between server and client, as bytes or in memory.

A field is an adapter (TensorDict), a tensor, or a plain number or word. On the wire a message is one safetensors file
whose metadata holds a little JSON; nothing in it can be executed.

Legend: K clients.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.stack import size_bytes, stack_of
from synoptic.core import SynopticError

Scalar = int | float | str | bool
Field = TensorDict | Tensor | Scalar
"""What one client sends or receives under one name."""

Fields = Mapping[str, Field]
SEPARATOR = "|"


@dataclass(frozen=True)
class Each:
    """One value for each asked client instead of the same for all, in the order of the asked clients."""

    values: TensorDict | Tensor | Sequence[Field]

    def __getitem__(self, place: int) -> Field:
        value: Field = self.values[place]
        return value


def field_bytes(field: Field) -> int:
    """Payload bytes of one field: tensors at their own precision, numbers at 8 bytes, words in UTF-8."""
    if isinstance(field, TensorDict):
        return size_bytes(field)
    if isinstance(field, Tensor):
        return field.numel() * field.element_size()
    return len(field.encode()) if isinstance(field, str) else 8


def encode(fields: Fields) -> bytes:
    """One client's message as safetensors bytes."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for name, field in fields.items():
        if isinstance(field, TensorDict):
            plain[name] = {"adapter": sorted(str(key) for key in field.keys())}  # noqa: SIM118
            tensors |= {f"{name}{SEPARATOR}{key}": tensor.contiguous() for key, tensor in field.items()}
        elif isinstance(field, Tensor):
            plain[name] = {"tensor": True}
            tensors[name] = field.contiguous()
        else:
            plain[name] = {"value": field}
    return save(tensors, {"fields": json.dumps(plain)})


def decode(content: bytes) -> dict[str, Field]:
    """The fields of `encode`.

    Raises:
        SynopticError: bytes that are no such message.
    """
    try:
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        plain = json.loads(header["__metadata__"]["fields"])
        return {name: _field(name, kind, tensors) for name, kind in plain.items()}
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise SynopticError(f"a message of {len(content)} bytes is damaged ({error})", "send it again") from error


def _field(name: str, kind: dict[str, Any], tensors: dict[str, Tensor]) -> Field:
    if "adapter" in kind:
        return TensorDict({key: tensors[f"{name}{SEPARATOR}{key}"] for key in kind["adapter"]}, batch_size=[])
    if "tensor" in kind:
        return tensors[name]
    value: Scalar = kind["value"]
    return value


@dataclass(frozen=True)
class Failure:
    """Why one client's answer is missing."""

    client: int
    round: int
    task: str
    reason: str

    def __str__(self) -> str:
        return f"client {self.client}, round {self.round}, task '{self.task}': {self.reason}"


Stacked = TensorDict | Tensor | list[Tensor]
"""A field of many clients: a stack ``[K]``, a tensor ``[K, ...]``, or one tensor of its own length for each client."""


@dataclass(frozen=True)
class Replies:
    """What came back, in client order: ``replies.adapter`` is a stack, ``replies.examples`` a tensor ``[K]``.

    ``failures`` stand beside the results: who is missing and why.
    """

    clients: list[int]
    fields: dict[str, Stacked]
    failures: list[Failure]

    def __getattr__(self, name: str) -> Any:
        fields = self.__dict__.get("fields", {})
        if name not in fields:
            raise AttributeError(f"the replies have no field '{name}'; they have: {', '.join(fields) or 'none'}")
        return fields[name]

    def __len__(self) -> int:
        return len(self.clients)

    def of(self, place: int) -> dict[str, Field]:
        """All fields of the client at ``place``."""
        return {name: field[place] for name, field in self.fields.items()}

    def keep(self, places: Sequence[int], failures: Sequence[Failure] = ()) -> Replies:
        """Only the clients at these places."""
        index = torch.tensor(list(places), dtype=torch.long)
        fields: dict[str, Stacked] = {
            name: [field[place] for place in places] if isinstance(field, list) else field[index]
            for name, field in self.fields.items()
        }
        return Replies([self.clients[place] for place in places], fields, [*self.failures, *failures])


def join(parts: Sequence[Replies]) -> Replies:
    """Replies of several cohorts as one, sorted by client, so that the order of execution never matters."""
    filled = [part for part in parts if part.clients]
    failures = sorted((failure for part in parts for failure in part.failures), key=lambda failure: failure.client)
    if not filled:
        return Replies([], {}, failures)
    names = set(filled[0].fields)
    if any(set(part.fields) != names for part in filled):
        raise SynopticError("clients replied with different fields", "let the task return the same names for everyone")
    fields = {name: _cat([part.fields[name] for part in filled]) for name in filled[0].fields}
    whole = Replies([client for part in filled for client in part.clients], fields, failures)
    order = sorted(range(len(whole.clients)), key=whole.clients.__getitem__)
    return whole.keep(order) if order != list(range(len(order))) else whole


def _cat(values: list[Stacked]) -> Stacked:
    first = values[0]
    if isinstance(first, list):
        return [tensor for value in values for tensor in value]
    if len(values) == 1:
        return first
    if isinstance(first, TensorDict):
        return TensorDict({key: torch.cat([value[key] for value in values]) for key in first.keys()},  # noqa: SIM118
                          batch_size=[sum(len(value) for value in values)])  # fmt: skip
    return torch.cat([value for value in values if isinstance(value, Tensor)])


def collate(clients: Sequence[int], messages: Sequence[Fields]) -> Replies:
    """Replies of single clients, as they come off the wire, side by side.

    Raises:
        SynopticError: messages with different fields.
    """
    fields: dict[str, Stacked] = {}
    for name in messages[0] if messages else ():
        values = [message.get(name) for message in messages]
        if any(value is None for value in values) or len({*map(frozenset, messages)}) > 1:
            raise SynopticError("clients replied with different fields", "let the task return the same names for everyone")
        fields[name] = _side_by_side([value for value in values if value is not None])
    return Replies(list(clients), fields, [])


def _side_by_side(values: list[Field]) -> Stacked:
    first = values[0]
    if isinstance(first, TensorDict):
        return stack_of([value for value in values if isinstance(value, TensorDict)])
    if isinstance(first, Tensor):
        tensors = [value for value in values if isinstance(value, Tensor)]
        return torch.stack(tensors) if len({tensor.shape for tensor in tensors}) == 1 else tensors
    return torch.tensor(values)
