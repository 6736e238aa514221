"""Messages: named fields that cross the boundary between server and client, as bytes or in memory.

A field is an adapter (TensorDict), a tensor, or a plain number or word. On the wire a message is one safetensors file
whose metadata holds a little JSON; nothing in it can be executed.

Legend: K clients.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as made_by
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.stack import leaves, names, rank_axis, size_bytes, stack_of
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
        value: Any = self.values[place]
        return value  # type: ignore[no-any-return]

    def part(self, first: int, count: int) -> Each:
        """The values of ``count`` clients from ``first`` on."""
        values: Any = self.values
        return Each(values[first : first + count])

    def pick(self, places: Sequence[int]) -> Each:
        """The values at these places, in their order."""
        if isinstance(self.values, TensorDict | Tensor):
            return Each(self.values[torch.tensor(list(places), dtype=torch.long)])
        return Each([self.values[place] for place in places])


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
            plain[name] = {"adapter": names(field)}
            tensors |= {f"{name}{SEPARATOR}{key}": tensor.contiguous() for key, tensor in leaves(field).items()}
        elif isinstance(field, Tensor):
            plain[name] = {"tensor": True}
            tensors[name] = field.contiguous()
        else:
            plain[name] = {"value": field}
    return save(_apart(tensors), {"fields": json.dumps(plain)})


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that lie in the same place, such as one adapter sent under two names, as copies: a file has no places."""
    seen: set[int] = set()
    result: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        result[name] = tensor.clone() if tensor.data_ptr() in seen else tensor
        seen.add(tensor.data_ptr())
    return result


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


Stacked = TensorDict | Tensor | list[Tensor] | list[TensorDict]
"""A field of many clients: a stack ``[K]``, a tensor ``[K, ...]``, or for each client a tensor of its own length or an
adapter of its own rank, which travels without the padding that a stack would need."""


def stacked_bytes(field: Stacked) -> int:
    """Payload bytes of one field of many clients."""
    return sum(field_bytes(tensor) for tensor in field) if isinstance(field, list) else field_bytes(field)


Work = dict[str, float]
"""``steps`` (optimiser steps) and ``examples`` (training examples that went through them)."""


def add_work(total: Work, more: Mapping[str, float]) -> None:
    """Count ``more`` into ``total``."""
    for name, count in more.items():
        total[name] = total.get(name, 0.0) + count


@dataclass(frozen=True)
class Replies:
    """What came back, in client order: ``replies.adapter`` is a stack, ``replies.examples`` a tensor ``[K]``.

    ``failures`` stand beside the results: who is missing and why. ``work`` is what local training took, all clients
    together; it is measured by the cohort, not by the method, and travels beside the fields.
    """

    clients: list[int]
    fields: dict[str, Stacked]
    failures: list[Failure]
    work: Work = made_by(default_factory=dict)

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
        return Replies([self.clients[place] for place in places], fields, [*self.failures, *failures], self.work)


def join(parts: Sequence[Replies], task: str, round_: int) -> Replies:
    """Replies of several cohorts as one, sorted by client, so that the order of execution never matters.

    Whoever answers with other fields than most clients do becomes a failure; in a draw the lowest client is right.
    """
    filled = sorted((part for part in parts if part.clients), key=lambda part: min(part.clients))
    failures = [failure for part in parts for failure in part.failures]
    if filled:
        votes: Counter[Structure] = Counter()
        for part in filled:
            votes[_structure(part)] += len(part)
        usual = votes.most_common(1)[0][0]
        failures += [Failure(client, round_, task, _oddity(part, usual))
                     for part in filled if _structure(part) != usual for client in part.clients]  # fmt: skip
        filled = [part for part in filled if _structure(part) == usual]
    failures.sort(key=lambda failure: failure.client)
    work: Work = {}
    for part in parts:
        add_work(work, part.work)
    if not filled:
        return Replies([], {}, failures, work)
    fields = {name: _cat([part.fields[name] for part in filled]) for name in filled[0].fields}
    whole = Replies([client for part in filled for client in part.clients], fields, failures, work)
    order = sorted(range(len(whole.clients)), key=whole.clients.__getitem__)
    return whole.keep(order) if order != list(range(len(order))) else whole


Structure = frozenset[tuple[str, str]]
"""Field names and what each must have in common with the other clients' to stand beside them."""


def _structure(part: Replies) -> Structure:
    return frozenset((name, _kind(field)) for name, field in part.fields.items())


def _kind(field: Stacked) -> str:
    """Tensor names, types and sizes, except what may differ: LoRA ranks and the length of a client's own tensor."""
    if isinstance(field, TensorDict):
        return _adapter_kind(field[0])
    first = field[0]
    return (
        _adapter_kind(first) if isinstance(first, TensorDict) else f"{first.dtype} {first.ndim} {list(first.shape[1:])}"
    )


def _adapter_kind(one: TensorDict) -> str:
    return "; ".join(f"{key} {tensor.dtype} {_shape(key, tensor)}" for key, tensor in leaves(one).items())


def _shape(name: str, tensor: Tensor) -> list[int]:
    axis = rank_axis(name)
    return [-1 if place == axis else size for place, size in enumerate(tensor.shape)]


def _oddity(part: Replies, usual: Structure) -> str:
    fields = sorted({name for name, _ in _structure(part) ^ usual})
    return f"its reply differs from the other clients' in {', '.join(repr(name) for name in fields)}"


def _cat(values: list[Stacked]) -> Stacked:
    values = [stack_of(adapters) if (adapters := _adapters(value)) else value for value in values]
    if len(values) == 1:
        return values[0]
    stacks = [value for value in values if isinstance(value, TensorDict)]
    if stacks:
        if len({tuple(tensor.shape[1:] for tensor in leaves(stack).values()) for stack in stacks}) > 1:
            return stack_of([stack[place] for stack in stacks for place in range(len(stack))])
        parts = [leaves(stack) for stack in stacks]
        return TensorDict({key: torch.cat([part[key] for part in parts]) for key in parts[0]},
                          batch_size=[sum(len(stack) for stack in stacks)])  # fmt: skip
    tensors = [tensor for value in values for tensor in value]
    return torch.stack(tensors) if len({tensor.shape for tensor in tensors}) == 1 else tensors


def _adapters(value: Stacked) -> list[TensorDict]:
    """The adapters of a field that holds one of its own rank for each client."""
    return [one for one in value if isinstance(one, TensorDict)] if isinstance(value, list) else []


def collate(clients: Sequence[int], messages: Sequence[Fields]) -> Replies:
    """Replies of single clients, as they come off the wire, side by side.

    Raises:
        SynopticError: messages with different fields.
    """
    fields: dict[str, Stacked] = {}
    for name in messages[0] if messages else ():
        values = [message.get(name) for message in messages]
        if any(value is None for value in values) or len({*map(frozenset, messages)}) > 1:
            raise SynopticError("clients replied with different fields", "let the task return the same for everyone")
        fields[name] = _side_by_side([value for value in values if value is not None])
    return Replies(list(clients), fields, [])


def _side_by_side(values: list[Field]) -> Stacked:
    first = values[0]
    if isinstance(first, TensorDict):
        adapters = [value for value in values if isinstance(value, TensorDict)]
        alike = len({tuple(tensor.shape for tensor in leaves(one).values()) for one in adapters}) == 1
        return stack_of(adapters) if alike else adapters
    if isinstance(first, Tensor):
        tensors = [value for value in values if isinstance(value, Tensor)]
        return torch.stack(tensors) if len({tensor.shape for tensor in tensors}) == 1 else tensors
    return torch.tensor(values)
