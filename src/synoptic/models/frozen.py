"""What every frozen base has in common: towers whose blocks are adapted, and wearing what is trained outside.

Legend: K clients.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, Self

import torch
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.binding import Binding
from synoptic.adapters.stack import leaves

READY = "ready"
"""The depth of an embedding: nothing of the tower is left to run."""

Depth = int | str


class Fingerprinted(Protocol):
    """Image preprocessing, as far as every base knows it."""

    fingerprint: str


class FrozenBase:
    """A frozen model, worn with a stack of adapters. Its modules never change.

    Args:
        model: a Hugging Face model.
        tokenizer: its tokenizer.
        fingerprint: hash of weights and configuration.
        name: what the user called it.
    """

    def __init__(self, model: Any, tokenizer: Any, fingerprint: str, name: str) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.fingerprint = fingerprint
        self.name = name
        self.binding = Binding(model)
        self.half = any(p.dtype == torch.bfloat16 for p in model.parameters())
        self.device = next(model.parameters()).device
        self._worn: Mapping[str, Tensor] = {}

    @contextmanager
    def wearing(self, stack: TensorDict | Mapping[str, Tensor]) -> Iterator[Self]:
        """Wear a stack ``[K]`` inside the block: rows of whatever is adapted are per client, client-major."""
        tensors = leaves(stack) if isinstance(stack, TensorDict) else stack
        before, self._worn = self._worn, tensors
        try:
            with self.binding.wearing(tensors):
                yield self
        finally:
            self._worn = before

    def precision(self) -> Any:
        """The context that the frozen modules are called in: bfloat16 products where the base is held in it."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.half)


def names_of(stack: TensorDict | Mapping[str, Tensor], tower: str) -> list[str]:
    """Names of what a stack has on one tower."""
    return [str(name) for name in stack.keys() if str(name).startswith(f"{tower}/")]  # noqa: SIM118


def lora_entry(names: Iterable[str], blocks: Sequence[str]) -> int | None:
    """The first adapted block; ``len(blocks)`` for LoRA behind all blocks, None without any."""
    places = {path: depth for depth, path in enumerate(blocks)}
    depths = [
        next((depth for path, depth in places.items() if f"/lora/{path}." in name), len(blocks))
        for name in names
        if "/lora/" in name
    ]
    return min(depths, default=None)
