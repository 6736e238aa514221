"""The stack: every trainable tensor of K clients in one TensorDict whose leading axis is the client axis.

An *adapter* is a TensorDict with batch size ``[]``; a *stack* has batch size ``[K]``; ``stack[k]`` is client k's
adapter, a view. Names are flat and say everything that is needed to wear, average or export a tensor:

    vision/lora/vision_model.encoder.layers.3.self_attn.q_proj/A       [K, rank, in]
    vision/lora/vision_model.encoder.layers.3.self_attn.q_proj/B       [K, out, rank]
    vision/lora/vision_model.encoder.layers.3.self_attn.q_proj/scale   [K]           alpha / rank, never trained
    text/prompt/context                                                [K, length, width]
    vision/head/weight                                                 [K, dim, dim]

A fused projection is addressed by its part: ``.../attn.qkv#q`` is the query rows of ``qkv``. A further pair on a site
lies in a slot, ``...q_proj@own/A``, and their updates add up (`synoptic.adapters.slots`).

Legend: K clients, P trainable values per client, r rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from tensordict import TensorDict
from torch import Tensor

from synoptic.core import SynopticError


def names(stack: TensorDict) -> list[str]:
    """All tensor names, sorted."""
    return sorted(str(name) for name in stack.keys())  # noqa: SIM118


def leaves(stack: TensorDict) -> dict[str, Tensor]:
    """Plain named tensors, sorted by name."""
    tensors = {str(name): tensor for name, tensor in stack.items()}
    return {name: tensor for name, tensor in sorted(tensors.items()) if isinstance(tensor, Tensor)}


def trainable_names(stack: TensorDict, only: str | Sequence[str] = "*") -> list[str]:
    """Names of what an optimiser may move: everything that matches ``only`` except scales.

    Raises:
        SynopticError: a pattern matches nothing.
    """
    patterns = [only] if isinstance(only, str) else list(only)
    movable = [name for name in names(stack) if not name.endswith("/scale")]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in movable):
            raise SynopticError(f"'{pattern}' matches no tensor of the adapter", f"it has: {', '.join(movable[:6])}")
    return [name for name in movable if any(fnmatchcase(name, pattern) for pattern in patterns)]


def select(stack: TensorDict, *patterns: str) -> TensorDict:
    """The tensors whose names match any of the patterns (``*`` matches across slashes); no copy."""
    chosen = [name for name in names(stack) if any(fnmatchcase(name, pattern) for pattern in patterns)]
    return stack.select(*chosen)


def adapter(tensors: dict[str, Tensor]) -> TensorDict:
    """One client's adapter from named tensors (batch size ``[]``)."""
    return TensorDict(tensors, batch_size=[])


def expand(one: TensorDict, clients: int) -> TensorDict:
    """``clients`` copies of one adapter as a stack ``[K]``; a view, nothing is copied until it is trained."""
    return one.unsqueeze(0).expand(clients)


def without(stack: TensorDict, some: Iterable[str]) -> TensorDict:
    """The other tensors; no copy."""
    taken = set(some)
    return stack.select(*(name for name in names(stack) if name not in taken))


def stack_of(adapters: Sequence[TensorDict]) -> TensorDict:
    """A stack ``[K]`` of adapters, LoRA of lower rank padded with zeros (which training keeps at zero).

    The padded rows of A and columns of B receive zero gradient from each other, so a client of rank 2 in a stack of
    rank 8 trains exactly as it would alone; its ``scale`` is its own alpha / rank.
    """
    if not adapters:
        raise SynopticError("a stack of no adapters was asked for", "give at least one")
    keys = names(adapters[0])
    for one in adapters[1:]:
        if names(one) != keys:
            raise SynopticError("adapters with different tensors cannot form a stack",
                                "adapt the same layers everywhere")  # fmt: skip
    return TensorDict({key: torch.stack(_same_rank([one[key] for one in adapters], key)) for key in keys},
                      batch_size=[len(adapters)])  # fmt: skip


def rank_axis(name: str) -> int | None:
    """The axis of one client's tensor that is a LoRA rank, or None."""
    return {"A": 0, "B": 1}.get(name.rsplit("/", 1)[-1]) if "/lora/" in name else None


def _same_rank(tensors: list[Tensor], name: str) -> list[Tensor]:
    axis = rank_axis(name)
    if axis is None or len({tensor.shape[axis] for tensor in tensors}) == 1:
        return tensors
    rank = max(tensor.shape[axis] for tensor in tensors)
    return [_pad(tensor, axis, rank) for tensor in tensors]


def _pad(tensor: Tensor, axis: int, size: int) -> Tensor:
    shape = list(tensor.shape)
    shape[axis] = size - shape[axis]
    return torch.cat([tensor, tensor.new_zeros(shape)], dim=axis)


def size_bytes(stack: TensorDict) -> int:
    """Bytes of all tensors, as they would travel uncompressed."""
    return sum(tensor.numel() * tensor.element_size() for tensor in leaves(stack).values())


@dataclass(frozen=True)
class Layout:
    """Where each tensor lies in a flat row of P values."""

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]

    @property
    def sizes(self) -> list[int]:
        """Values per client of each tensor."""
        return [shape.numel() for shape in self.shapes]

    def unpack(self, flat_KP: Tensor) -> dict[str, Tensor]:
        """Views ``[K, *shape]`` into the flat rows; one split, so its gradient is one concatenation."""
        parts = flat_KP.split(self.sizes, dim=1)
        return {name: part.view(-1, *shape) for name, part, shape in zip(self.names, parts, self.shapes, strict=True)}


def pack(stack: TensorDict, chosen: Iterable[str]) -> tuple[Tensor, Layout]:
    """The chosen tensors of a stack as one contiguous float32 buffer ``[K, P]`` (a copy) and its layout."""
    keys = tuple(chosen)
    clients = stack.batch_size[0]
    layout = Layout(keys, tuple(stack[key].shape[1:] for key in keys))
    flat = torch.cat([stack[key].reshape(clients, -1).float() for key in keys], dim=1)
    return flat.contiguous(), layout
