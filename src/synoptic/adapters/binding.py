"""Wearing LoRA: hooks on a frozen model that read whatever stack is worn at the moment.

Nothing is copied, loaded or replaced. With nothing worn a hooked model computes what it always did. With a stack of K
clients worn, rows are client-major: a batch of ``K * B`` rows holds client 0's B rows, then client 1's, and each
client's rows see its own factors. The frozen product runs once over all rows; the low-rank part is a batched product.
Several pairs on one site (slots) add up, or are mixed: ``<tower>/mixer/<site>/weight`` and ``/bias`` give each pair its
share, softmax(W x + b) of the token.

Legend: K clients, N = K * B rows, T tokens, D inputs, O outputs, r rank, P pairs on one site.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synoptic.adapters.sites import PARTS, split_name
from synoptic.core import SynopticError


@dataclass(frozen=True)
class Mixer:
    """How the pairs of one site share in its update: softmax(W x + b), where either may be missing."""

    weight_KPD: Tensor | None
    bias_KP: Tensor | None


@dataclass(frozen=True)
class Factors:
    """One pair for K clients; the main pair of a site carries the site's mixer, if there is one."""

    A_KrD: Tensor
    B_KOr: Tensor
    scale_K: Tensor
    mixer: Mixer | None = None


def low_rank(x: Tensor, factors: Factors) -> Tensor:
    """``scale * B A x`` for client-major rows ``x [N, ..., D]``; float32, whatever the base is held in."""
    clients = factors.A_KrD.shape[0]
    if x.shape[0] % clients:
        raise SynopticError(f"{x.shape[0]} rows cannot be shared by a stack of {clients} clients",
                            "give every client the same number of rows")  # fmt: skip
    rows = x.reshape(clients, -1, x.shape[-1])
    half = torch.is_autocast_enabled(x.device.type)
    with torch.autocast(x.device.type, enabled=False) if half else nullcontext():
        down = torch.bmm(rows.float(), factors.A_KrD.mT)
        up = torch.bmm(down, (factors.B_KOr * factors.scale_K[:, None, None]).mT)
    return up.view(*x.shape[:-1], -1)


Pairs = Sequence[Factors]
"""All pairs on one place, main pair first, then slots by name."""

Worn = Mapping[str | None, Pairs]
"""What is worn on one module, by part."""


def update(x: Tensor, pairs: Pairs) -> Tensor:
    """What all pairs of one place add for client-major rows ``x [N, ..., D]``. This is where pairs meet.

    Raises:
        SynopticError: a mixer of another number of pairs.
    """
    if pairs[0].mixer is not None:
        shares = mixture(x, pairs[0].mixer)
        if shares.shape[-1] != len(pairs):
            raise SynopticError(f"a mixer of {shares.shape[-1]} pairs is worn on a site with {len(pairs)}",
                                "wear it with the pairs that it was trained with")  # fmt: skip
        return torch.stack([low_rank(x, pair) for pair in pairs], dim=-1).mul(shares.unsqueeze(-2)).sum(-1)
    total = low_rank(x, pairs[0])
    for pair in pairs[1:]:
        total = total + low_rank(x, pair)
    return total


def mixture(x: Tensor, mixer: Mixer) -> Tensor:
    """Shares ``[N, ..., P]`` of the pairs for every token of client-major rows ``x [N, ..., D]``: softmax(W x + b)."""
    known = mixer.weight_KPD if mixer.weight_KPD is not None else mixer.bias_KP
    assert known is not None
    rows = x.reshape(known.shape[0], -1, x.shape[-1])
    half = torch.is_autocast_enabled(x.device.type)
    with torch.autocast(x.device.type, enabled=False) if half else nullcontext():
        scores = rows.new_zeros(*rows.shape[:2], known.shape[1], dtype=torch.float32)
        if mixer.weight_KPD is not None:
            scores = torch.bmm(rows.float(), mixer.weight_KPD.mT)
        if mixer.bias_KP is not None:
            scores = scores + mixer.bias_KP[:, None]
        return scores.softmax(-1).view(*x.shape[:-1], -1)


def lora_factors(tensors: Mapping[str, Tensor]) -> dict[str, dict[str | None, list[Factors]]]:
    """LoRA pairs of a stack by module path and part; slots of one place stand side by side, in a fixed order."""
    found: dict[str, dict[str | None, list[Factors]]] = {}
    for stem in sorted(name[:-2] for name in tensors if "/lora/" in name and name.endswith("/A")):
        path, part = split_name(stem.split("/lora/", 1)[1])
        mixer = _mixer(tensors, stem)
        pair = Factors(tensors[f"{stem}/A"], tensors[f"{stem}/B"], tensors[f"{stem}/scale"], mixer)
        found.setdefault(path, {}).setdefault(part, []).append(pair)
    return found


def mixer_of(stem: str) -> str:
    """The name of a site's mixer.

    >>> mixer_of("vision/lora/blocks.0.proj")
    'vision/mixer/blocks.0.proj'
    """
    return stem.replace("/lora/", "/mixer/", 1)


def _mixer(tensors: Mapping[str, Tensor], stem: str) -> Mixer | None:
    weight, bias = (tensors.get(f"{mixer_of(stem)}/{part}") for part in ("weight", "bias"))
    return None if weight is None and bias is None else Mixer(weight, bias)


class Binding:
    """The hooks of one frozen model. They are installed when a site is first worn and stay, idle, afterwards."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._hooked: set[str] = set()
        self._worn: Mapping[str, Worn] = {}

    @contextmanager
    def wearing(self, tensors: Mapping[str, Tensor]) -> Iterator[None]:
        """Wear the LoRA part of a stack ``[K, ...]`` inside the block; wearing again inside replaces it meanwhile.

        Raises:
            SynopticError: the model has no module of that name.
        """
        worn = lora_factors(tensors)
        for path in worn.keys() - self._hooked:
            self._install(path)
        before, self._worn = self._worn, worn
        try:
            yield
        finally:
            self._worn = before

    def _install(self, path: str) -> None:
        try:
            module = self._model.get_submodule(path)
            parent = self._model.get_submodule(path.rpartition(".")[0])
        except AttributeError as error:
            raise SynopticError(f"the adapter has weights for '{path}', which this model lacks",
                                "use the base that the adapter was made for") from error  # fmt: skip
        if isinstance(parent, nn.MultiheadAttention):
            path, module = path.rpartition(".")[0], parent
        if isinstance(module, nn.MultiheadAttention):
            if path not in self._hooked:
                self._replace_attention(path, module)
            self._hooked.add(f"{path}.out_proj")
        else:
            module.register_forward_hook(self._linear_hook(path))
        self._hooked.add(path)

    def _linear_hook(self, path: str) -> Any:
        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            worn = self._worn.get(path)
            if worn is None:
                return None
            if None in worn:
                return output + update(args[0], worn[None])
            return output + _fused(args[0], worn, output.shape[-1] // 3)

        return hook

    def _replace_attention(self, path: str, attention: nn.MultiheadAttention) -> None:
        original = attention.forward

        def forward(
            query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
        ) -> tuple[Tensor, Tensor | None]:
            worn, worn_out = self._worn.get(path), self._worn.get(f"{path}.out_proj")
            if worn is None and worn_out is None:
                return original(query, key, value, *args, **kwargs)
            if args or {name for name, given in kwargs.items() if given is not None} - {"need_weights"}:
                raise SynopticError(f"'{path}' is adapted and was called with {list(kwargs) or 'a mask'}",
                                    "adapted packed attention takes query, key and value only")  # fmt: skip
            return packed_attention(attention, query, key, value, worn or {}, (worn_out or {}).get(None)), None

        attention.forward = forward  # type: ignore[method-assign]


def _fused(x: Tensor, worn: Worn, width: int) -> Tensor:
    """Low-rank updates of the parts of one fused projection, side by side; parts without factors stay zero."""
    parts = [update(x, worn[part]) if part in worn else x.new_zeros(*x.shape[:-1], width, dtype=torch.float32)
             for part in PARTS]  # fmt: skip
    return torch.cat(parts, dim=-1)


def packed_attention(
    attention: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor,
    worn: Worn, out: Pairs | None,
) -> Tensor:  # fmt: skip
    """`nn.MultiheadAttention` (packed weight, no mask, no dropout) with LoRA on its parts; ``[N, T, D]`` rows."""
    if not attention.batch_first:
        query, key, value = (t.transpose(0, 1) for t in (query, key, value))
    weights = attention.in_proj_weight.chunk(3)
    biases = attention.in_proj_bias.chunk(3) if attention.in_proj_bias is not None else (None, None, None)
    heads = []
    for x, weight, bias, part in zip((query, key, value), weights, biases, PARTS, strict=True):
        y = F.linear(x, weight, bias)
        y = y + update(x, worn[part]) if part in worn else y
        heads.append(y.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2))
    mixed = F.scaled_dot_product_attention(heads[0], heads[1].to(heads[0].dtype), heads[2].to(heads[0].dtype))
    mixed = mixed.transpose(1, 2).flatten(2)
    projection = attention.out_proj
    y = F.linear(mixed, projection.weight, projection.bias)
    y = y + update(mixed, out) if out is not None else y
    return y if attention.batch_first else y.transpose(0, 1)
