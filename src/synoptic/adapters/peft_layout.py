"""How LoRA pairs lie in PEFT's files: one pair per module, packed query/key/value weights included.

PEFT puts one pair on one module. The parts of a packed projection therefore become one pair whose ``B`` is block
structured: part p owns some columns of ``B`` (and rows of ``A``), and ``B`` is zero elsewhere in those columns.
`nn.MultiheadAttention` always carries two pairs in PEFT, packed input and output projection, of one rank and alpha; a
missing one is written as zeros. Nothing here touches a file.

Legend: D inputs, O outputs, r rank of one site, R rank in the file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from synoptic.adapters.algebra import lora_stems
from synoptic.adapters.sites import FUSED, PARTS, split_name
from synoptic.core import SynopticError

OUT = ".base_layer.out_proj"
"""Where PEFT keeps the output projection of a wrapped `nn.MultiheadAttention`."""


@dataclass(frozen=True)
class Pair:
    """One update ``scale * B A``."""

    A_rD: Tensor
    B_Or: Tensor
    scale: float

    @property
    def rank(self) -> int:
        """Rows of ``A``."""
        return self.A_rD.shape[0]

    def at(self, scale: float) -> Pair:
        """The same update under another scale; the difference goes into ``B``."""
        return self if scale == self.scale else replace(self, B_Or=self.B_Or * (self.scale / scale), scale=scale)

    def padded(self, rank: int) -> Pair:
        """The same update with zero rows and columns up to ``rank``."""
        more = rank - self.rank
        return replace(self, A_rD=nn.functional.pad(self.A_rD, (0, 0, 0, more)),
                       B_Or=nn.functional.pad(self.B_Or, (0, more)))  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where one site lies: the module in PEFT's file, and its rows and columns of that module's ``B``."""

    module: str
    part: str | None
    columns: tuple[int, int]

    def rows(self, outputs: int) -> slice:
        """Rows of the module's ``B [outputs, R]``."""
        if self.part is None:
            return slice(0, outputs)
        width = outputs // len(PARTS)
        return slice(PARTS[self.part] * width, (PARTS[self.part] + 1) * width)


def to_modules(one: TensorDict, model: nn.Module) -> tuple[dict[str, Pair], dict[str, tuple[int, int]]]:
    """An adapter's LoRA pairs by PEFT module, and the columns that each site owns there, by stem.

    Raises:
        SynopticError: a site that the model does not have.
    """
    sites: dict[str, dict[str | None, tuple[str, Pair]]] = {}
    for stem in lora_stems(one):
        path, part = split_name(stem.split("/lora/", 1)[1])
        pair = Pair(one[f"{stem}/A"].detach(), one[f"{stem}/B"].detach(), float(one[f"{stem}/scale"]))
        module, part = _attention_of(model, path, part)
        sites.setdefault(module, {})[part] = (stem, pair)
    modules: dict[str, Pair] = {}
    columns: dict[str, tuple[int, int]] = {}
    for module, parts in sites.items():
        attention = _submodule(model, module)
        new = _attention(module, parts, attention) if isinstance(attention, nn.MultiheadAttention) else _linear(parts)
        modules |= {f"{module}{suffix}": pair for suffix, pair in new.items()}
        columns |= {parts[part][0]: place for part, place in _columns(parts).items()}
    return modules, columns


def _submodule(model: nn.Module, path: str) -> nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        raise SynopticError(f"the adapter has weights for '{path}', which this base lacks",
                            "use the base that the adapter was made for") from error  # fmt: skip


def _attention_of(model: nn.Module, path: str, part: str | None) -> tuple[str, str | None]:
    _submodule(model, path)
    parent, _, name = path.rpartition(".")
    if name == "out_proj" and isinstance(model.get_submodule(parent), nn.MultiheadAttention):
        return parent, "o"
    return path, part


def _columns(parts: Mapping[str | None, tuple[str, Pair]]) -> dict[str | None, tuple[int, int]]:
    found: dict[str | None, tuple[int, int]] = {}
    start = 0
    for part in sorted(parts, key=lambda part: PARTS.get(part or "", -1)):
        rank = parts[part][1].rank
        first = 0 if part in (None, "o") else start
        found[part] = (first, first + rank)
        start = first + rank if part in PARTS else start
    return found


def _linear(parts: Mapping[str | None, tuple[str, Pair]]) -> dict[str, Pair]:
    if None in parts:
        return {"": parts[None][1]}
    pairs = {part: pair for part, (_, pair) in parts.items() if part is not None}
    return {"": _packed(pairs, _common_scale(pairs.values()))}


def _attention(
    module: str, parts: Mapping[str | None, tuple[str, Pair]], attention: nn.MultiheadAttention
) -> dict[str, Pair]:
    if None in parts or attention.in_proj_weight is None:
        raise SynopticError(f"PEFT cannot hold this adaptation of '{module}'", "adapt its q, k, v and out_proj only")
    pairs = {part: pair for part, (_, pair) in parts.items() if part is not None}
    scale = _common_scale(pairs.values())
    width, like = attention.embed_dim, next(iter(pairs.values())).A_rD
    nothing = Pair(like.new_zeros(0, width), like.new_zeros(width, 0), scale)
    out = pairs.pop("o", nothing).at(scale)
    inner = _packed(pairs or {"q": nothing}, scale)
    rank = max(out.rank, inner.rank)
    return {"": inner.padded(rank), OUT: out.padded(rank)}


def _common_scale(pairs: Collection[Pair]) -> float:
    scales = {pair.scale for pair in pairs}
    return scales.pop() if len(scales) == 1 else 1.0


def _packed(parts: Mapping[str, Pair], scale: float) -> Pair:
    """One pair of rank ``sum r`` on a packed weight; parts without factors stay zero."""
    pairs = {part: parts[part].at(scale) for part in PARTS if part in parts}
    first = next(iter(pairs.values()))
    width = first.B_Or.shape[0]
    B_OR = first.B_Or.new_zeros(len(PARTS) * width, sum(pair.rank for pair in pairs.values()))
    start = 0
    for part, pair in pairs.items():
        B_OR[PARTS[part] * width : (PARTS[part] + 1) * width, start : start + pair.rank] = pair.B_Or
        start += pair.rank
    return Pair(torch.cat([pair.A_rD for pair in pairs.values()]), B_OR, scale)


def from_modules(modules: Mapping[str, Pair], columns: Mapping[str, tuple[int, int]]) -> dict[str, Pair]:
    """The inverse of `to_modules`: pairs by stem.

    Args:
        modules: what the file holds.
        columns: what `to_modules` said, or nothing for an adapter that somebody else made. When the columns do not
            account for every value (PEFT trained the file further), the general split is taken instead.
    """
    places = {stem: _place(stem, owned, modules) for stem, owned in columns.items()}
    if not places or not _accounts_for(places.values(), modules):
        towers = {place.module: stem.split("/", 1)[0] for stem, place in places.items()}
        places = {}
        for module in modules:
            places |= _general(module, modules, towers.get(module))
    result: dict[str, Pair] = {}
    for stem, place in places.items():
        pair, (start, stop) = modules[place.module], place.columns
        rows = place.rows(pair.B_Or.shape[0])
        result[stem] = Pair(pair.A_rD[start:stop].clone(), pair.B_Or[rows, start:stop].clone(), pair.scale)
    return result


def _place(stem: str, columns: tuple[int, int], modules: Mapping[str, Pair]) -> Place:
    path, part = split_name(stem.split("/lora/", 1)[-1])
    packed = path.removesuffix(".out_proj") + OUT
    module = packed if path.endswith(".out_proj") and packed in modules else path
    if module not in modules:
        raise SynopticError(f"the adapter file has no weights for '{path}'", "export it again")
    return Place(module, part, columns)


def _accounts_for(places: Collection[Place], modules: Mapping[str, Pair]) -> bool:
    seen = {name: (torch.zeros_like(pair.A_rD), torch.zeros_like(pair.B_Or)) for name, pair in modules.items()}
    for place in places:
        pair, (start, stop) = modules[place.module], place.columns
        rows = place.rows(pair.B_Or.shape[0])
        A, B = seen[place.module]
        A[start:stop] = pair.A_rD[start:stop]
        B[rows, start:stop] = pair.B_Or[rows, start:stop]
    return all(torch.equal(A, modules[name].A_rD) and torch.equal(B, modules[name].B_Or)
               for name, (A, B) in seen.items())  # fmt: skip


def _general(module: str, modules: Mapping[str, Pair], tower: str | None) -> dict[str, Place]:
    """A pair somebody else made: a packed one is three sites that share ``A`` and split the rows of ``B``."""
    pair = modules[module]
    path = module.removesuffix(OUT) + ".out_proj" if module.endswith(OUT) else module
    stem = f"{tower or tower_of(path)}/lora/{path}"
    is_attention = f"{module}{OUT}" in modules
    is_fused = path.rpartition(".")[2] in FUSED and pair.B_Or.shape[0] % len(PARTS) == 0
    parts: list[str | None] = [*PARTS] if is_attention or is_fused else [None]
    return {f"{stem}#{part}" if part else stem: Place(module, part, (0, pair.rank)) for part in parts}


def tower_of(path: str) -> str:
    """The tower that a module of a Hugging Face dual encoder belongs to.

    >>> tower_of("text_model.encoder.layers.0.mlp.fc1")
    'text'
    """
    head = path.split(".", 1)[0]
    for tower in ("vision", "text"):
        if head == f"{tower}_model":
            return tower
    raise SynopticError(f"the adapter has weights for '{path}', which is in neither tower of a dual encoder",
                        "import adapters made for CLIP or SigLIP models, whole (CLIPModel, SiglipModel)")  # fmt: skip
