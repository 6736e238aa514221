"""Wearing LoRA: hooks on a frozen model that read whatever stack is worn at the moment.

Nothing is copied, loaded or replaced. With nothing worn a hooked model computes what it always did. With a stack of K
clients worn, rows are client-major: a batch of ``K * B`` rows holds client 0's B rows, then client 1's, and each
client's rows see its own factors. The frozen product runs once over all rows; the low-rank part is a batched product.

Legend: K clients, N = K * B rows, T tokens, D inputs, O outputs, r rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synoptic.adapters.sites import PARTS, split_name
from synoptic.core import SynopticError


@dataclass(frozen=True)
class Factors:
    """One site's pair for K clients."""

    A_KrD: Tensor
    B_KOr: Tensor
    scale_K: Tensor


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


def lora_factors(tensors: Mapping[str, Tensor]) -> dict[str, dict[str | None, Factors]]:
    """LoRA pairs of a stack by module path and part."""
    found: dict[str, dict[str | None, Factors]] = {}
    for name, A in tensors.items():
        if "/lora/" in name and name.endswith("/A"):
            stem = name[:-2]
            path, part = split_name(stem.split("/lora/", 1)[1])
            found.setdefault(path, {})[part] = Factors(A, tensors[f"{stem}/B"], tensors[f"{stem}/scale"])
    return found


class Binding:
    """The hooks of one frozen model. They are installed when a site is first worn and stay, idle, afterwards."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._hooked: set[str] = set()
        self._worn: dict[str, dict[str | None, Factors]] = {}

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
                return output + low_rank(args[0], worn[None])
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


def _fused(x: Tensor, worn: Mapping[str | None, Factors], width: int) -> Tensor:
    """Low-rank updates of the parts of one fused projection, side by side; parts without factors stay zero."""
    parts = [low_rank(x, worn[part]) if part in worn else x.new_zeros(*x.shape[:-1], width, dtype=torch.float32)
             for part in PARTS]  # fmt: skip
    return torch.cat(parts, dim=-1)


def packed_attention(
    attention: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor,
    worn: Mapping[str | None, Factors], out: Factors | None,
) -> Tensor:  # fmt: skip
    """`nn.MultiheadAttention` (packed weight, no mask, no dropout) with LoRA on its parts; ``[N, T, D]`` rows."""
    if not attention.batch_first:
        query, key, value = (t.transpose(0, 1) for t in (query, key, value))
    weights = attention.in_proj_weight.chunk(3)
    biases = attention.in_proj_bias.chunk(3) if attention.in_proj_bias is not None else (None, None, None)
    heads = []
    for x, weight, bias, part in zip((query, key, value), weights, biases, PARTS, strict=True):
        y = F.linear(x, weight, bias)
        y = y + low_rank(x, worn[part]) if part in worn else y
        heads.append(y.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2))
    mixed = F.scaled_dot_product_attention(heads[0], heads[1].to(heads[0].dtype), heads[2].to(heads[0].dtype))
    mixed = mixed.transpose(1, 2).flatten(2)
    projection = attention.out_proj
    y = F.linear(mixed, projection.weight, projection.bias)
    y = y + low_rank(mixed, out) if out is not None else y
    return y if attention.batch_first else y.transpose(0, 1)
