"""Sites: the weights of a frozen model that a LoRA pair can sit on, fused projections included.

A site is named by its module path, plus ``#q``, ``#k`` or ``#v`` when the module computes query, key and value with one
packed weight (``nn.Linear`` of width 3 d called ``qkv`` or ``in_proj``, or ``nn.MultiheadAttention``). A further pair
on the same site lies in a slot: ``#q@own`` (`synoptic.adapters.slots`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from synoptic.adapters.spec import ConnectorLora, LoraSpec
from synoptic.core import SynopticError

ROLES: dict[str, tuple[str, ...]] = {
    "q": ("q_proj", "query", "wq"),
    "k": ("k_proj", "key", "wk"),
    "v": ("v_proj", "value", "wv"),
    "o": ("out_proj", "o_proj", "proj"),
    "fc1": ("fc1", "up_proj", "c_fc"),
    "fc2": ("fc2", "down_proj", "c_proj"),
    "gate": ("gate_proj",),
}
"""The names under which common model families keep each target."""

FUSED = ("qkv", "in_proj", "qkv_proj", "c_attn")
PARTS = {"q": 0, "k": 1, "v": 2}


@dataclass(frozen=True)
class Site:
    """A place for one LoRA pair: ``A`` is ``[rank, inputs]``, ``B`` is ``[outputs, rank]``."""

    name: str
    inputs: int
    outputs: int


def split_name(name: str) -> tuple[str, str | None]:
    """Module path and part of a site name, whatever its slot.

    >>> split_name("blocks.0.attn.qkv#v@own")
    ('blocks.0.attn.qkv', 'v')
    """
    path, _, part = name.partition("@")[0].partition("#")
    return path, part or None


def find_sites(model: nn.Module, blocks: Sequence[str], spec: LoraSpec) -> list[Site]:
    """Sites of ``spec.targets`` in the chosen blocks.

    Args:
        model: the frozen model.
        blocks: module paths of a tower's blocks, first to last.
        spec: which of them, and which weights in each.

    Raises:
        SynopticError: a block that does not exist, or targets that match nothing.
    """
    sites: list[Site] = []
    for path in (blocks[index] for index in chosen_blocks(len(blocks), spec.layers)):
        found = [site for site in _sites_of_block(model, path) if site[0] in spec.targets]
        missing = set(spec.targets) - {role for role, _ in found}
        if missing:
            there = sorted({role for role, _ in _sites_of_block(model, path)})
            raise SynopticError(f"block '{path}' has no weight for {', '.join(sorted(missing))}",
                                f"it has: {', '.join(there) or 'none that Synoptic knows'}")  # fmt: skip
        sites += [site for _, site in found]
    _check_rank(sites, spec.rank)
    return sites


def linear_sites(model: nn.Module, path: str, rank: int) -> list[Site]:
    """Every linear weight below ``path``, such as those of a connector.

    Raises:
        SynopticError: none, or one that a pair of this rank does not fit.
    """
    parts = [(name, part) for name, part in model.get_submodule(path).named_modules() if isinstance(part, nn.Linear)]
    if not parts:
        raise SynopticError(f"'{path}' has no linear weight", "leave it frozen")
    sites = [Site(f"{path}.{name}", part.in_features, part.out_features) for name, part in parts]
    _check_rank(sites, rank)
    return sites


def chosen_blocks(count: int, layers: int | tuple[int, ...] | str) -> list[int]:
    """Block numbers, ascending: the last n, a list, or all.

    >>> chosen_blocks(12, 2)
    [10, 11]
    """
    if isinstance(layers, str):
        return list(range(count))
    if isinstance(layers, int):
        if not 1 <= layers <= count:
            what = f"more blocks than the tower's {count}" if layers > count else "no block at all"
            raise SynopticError(f"layers={layers} asks for {what}", f"use 1 to {count}")
        return list(range(count - layers, count))
    outside = [index for index in layers if not 0 <= index < count]
    if outside or not layers:
        what = f"blocks a tower of {count} lacks" if outside else "no block at all"
        raise SynopticError(f"layers={list(layers)} names {what}", f"use 0 to {count - 1}")
    return sorted(set(layers))


def _sites_of_block(model: nn.Module, block: str) -> list[tuple[str, Site]]:
    return sorted(_walk(model.get_submodule(block), block), key=lambda pair: (list(ROLES).index(pair[0]), pair[1].name))


def _walk(module: nn.Module, path: str) -> Iterator[tuple[str, Site]]:
    for name, child in module.named_children():
        where = f"{path}.{name}"
        if isinstance(child, nn.MultiheadAttention):
            yield from _packed(child, where)
        elif isinstance(child, nn.Linear):
            yield from _linear(name, child, where)
        else:
            yield from _walk(child, where)


def _linear(name: str, linear: nn.Linear, where: str) -> Iterator[tuple[str, Site]]:
    if name in FUSED and linear.out_features % 3 == 0:
        for part in PARTS:
            yield part, Site(f"{where}#{part}", linear.in_features, linear.out_features // 3)
    for role, known in ROLES.items():
        if name in known:
            yield role, Site(where, linear.in_features, linear.out_features)


def _packed(attention: nn.MultiheadAttention, where: str) -> Iterator[tuple[str, Site]]:
    width = attention.embed_dim
    if attention.in_proj_weight is None or attention.bias_k is not None or attention.add_zero_attn:
        return  # `packed_attention` computes the common form only.
    for part in PARTS:
        yield part, Site(f"{where}#{part}", width, width)
    yield "o", Site(f"{where}.out_proj", width, width)


def _check_rank(sites: list[Site], rank: int) -> None:
    for site in sites:
        if rank > min(site.inputs, site.outputs):
            raise SynopticError(f"rank {rank} exceeds {site.name}, which is {site.outputs} x {site.inputs}",
                                f"use a rank of at most {min(site.inputs, site.outputs)}")  # fmt: skip


def init_lora(tower: str, sites: Sequence[Site], spec: ConnectorLora, rng: torch.Generator) -> dict[str, Tensor]:
    """Fresh factors: A uniform in +-1/sqrt(inputs), B zero, so that the update starts at zero (Hu et al. 2022)."""
    tensors: dict[str, Tensor] = {}
    for site in sites:
        bound = site.inputs**-0.5
        tensors[f"{tower}/lora/{site.name}/A"] = (torch.rand(spec.rank, site.inputs, generator=rng) * 2 - 1) * bound
        tensors[f"{tower}/lora/{site.name}/B"] = torch.zeros(site.outputs, spec.rank)
        tensors[f"{tower}/lora/{site.name}/scale"] = torch.tensor(spec.scale)
    return tensors
