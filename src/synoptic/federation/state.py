"""Server state: named adapters, tensors and scalars, nothing hidden, so that a run can stop after any round."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.stack import leaves
from synoptic.core import SynopticError
from synoptic.core.files import digest
from synoptic.federation.message import Field, decode, encode


class State:
    """What a method remembers between rounds: ``server.state.adapter = mean(...)``.

    Raises:
        SynopticError: on assigning anything that a checkpoint could not hold.
    """

    def __init__(self) -> None:
        self.__dict__["_fields"] = {}

    def __getattr__(self, name: str) -> Any:
        fields: dict[str, Field] = self.__dict__["_fields"]
        if name not in fields:
            raise AttributeError(f"server.state has no '{name}'; it has: {', '.join(fields) or 'nothing yet'}")
        return fields[name]

    def __setattr__(self, name: str, value: Field) -> None:
        if not isinstance(value, TensorDict | Tensor | int | float | str | bool):
            raise SynopticError(f"server.state.{name} cannot be a {type(value).__name__}",
                                "keep adapters, tensors, numbers and words in the state")  # fmt: skip
        if isinstance(value, TensorDict | Tensor):
            value = value.detach()
        self.__dict__["_fields"][name] = value

    def __contains__(self, name: str) -> bool:
        return name in self.__dict__["_fields"]

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__["_fields"])

    def get(self, name: str) -> Any:
        """The field, or None."""
        return self.__dict__["_fields"].get(name)

    def copy(self) -> dict[str, Field]:
        """Everything as it is now, for `put_back`; nothing that is done to the state later reaches it."""
        fields: dict[str, Field] = self.__dict__["_fields"]
        return {name: field.clone() if isinstance(field, TensorDict | Tensor) else field
                for name, field in fields.items()}  # fmt: skip

    def put_back(self, fields: dict[str, Field]) -> None:
        """Replace everything by what `copy` gave."""
        self.__dict__["_fields"] = dict(fields)

    def dump(self) -> bytes:
        """Bytes of everything."""
        return encode(self.__dict__["_fields"])

    def load(self, content: bytes) -> None:
        """Replace everything by what `dump` wrote."""
        self.__dict__["_fields"] = decode(content)

    def hash(self) -> str:
        """Content hash of every field."""
        parts: list[str | Tensor] = []
        for name, field in sorted(self.__dict__["_fields"].items()):
            if isinstance(field, TensorDict):
                for key, tensor in leaves(field).items():
                    parts += [f"{name}/{key}", tensor]
            else:
                parts += [name, field if isinstance(field, Tensor) else json.dumps(field)]
        return digest(*parts)
