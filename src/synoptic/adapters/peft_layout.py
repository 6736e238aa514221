"""How LoRA pairs lie in PEFT's files: one pair per module, packed query/key/value weights and slots included.

PEFT puts one pair on one module. The parts of a packed projection therefore become one pair whose ``B`` is block
structured: part p owns some columns of ``B`` (and rows of ``A``), and ``B`` is zero elsewhere in those columns.
`nn.MultiheadAttention` always carries two pairs in PEFT, for the packed input and for the output projection. The second
one is written as zeros and refused otherwise, because PEFT (all versions up to 0.21.2; pull request 3774 there) adds it
twice, so that one file means one thing here and another there. Nothing here touches a file.

Legend: D inputs, O outputs, r rank of one site, R rank in the file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from synoptic.adapters.algebra import lora_stems
from synoptic.adapters.sites import FUSED, PARTS, split_name
from synoptic.core import SynopticError

OUT = ".base_layer.out_proj"
"""Where PEFT keeps the output projection of a wrapped `nn.MultiheadAttention`."""

TOWERS = {
    "vision_model": "vision", "text_model": "text",
    "model.vision_tower": "vision", "model.multi_modal_projector": "connector", "model.language_model": "text",
    "model.visual.merger": "connector", "model.visual": "vision",
    "model.vision_model": "vision", "model.connector": "connector", "model.text_model": "text",
}  # fmt: skip
"""Where the towers of CLIP and SigLIP, LLaVA, Qwen-VL, Idefics3 and SmolVLM lie; the first that fits counts."""


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


Parts = dict[str | None, list[tuple[str, Pair]]]
"""A module's pairs with their stems, by part; slots of one part stand side by side."""


def to_modules(one: TensorDict, model: nn.Module) -> tuple[dict[str, Pair], dict[str, tuple[int, int]]]:
    """An adapter's LoRA pairs by PEFT module, and the columns that each site owns there, by stem.

    Stems missing from the columns are the output projections of `nn.MultiheadAttention`, which PEFT cannot hold.

    Raises:
        SynopticError: a site that the model does not have.
    """
    sites: dict[str, Parts] = {}
    for stem in lora_stems(one):
        path, part = split_name(stem.split("/lora/", 1)[1])
        if not isinstance(_submodule(model, path.rpartition(".")[0]), nn.MultiheadAttention):
            _submodule(model, path)
            pair = Pair(one[f"{stem}/A"].detach(), one[f"{stem}/B"].detach(), float(one[f"{stem}/scale"]))
            sites.setdefault(path, {}).setdefault(part, []).append((stem, pair))
    modules: dict[str, Pair] = {}
    columns: dict[str, tuple[int, int]] = {}
    for path, parts in sites.items():
        modules[path] = pair = _one_pair(parts)
        if isinstance(_submodule(model, path), nn.MultiheadAttention):
            B_Or = torch.zeros_like(pair.B_Or[: pair.B_Or.shape[0] // len(PARTS)])
            modules[path + OUT] = Pair(torch.zeros_like(pair.A_rD), B_Or, pair.scale)
        columns |= _columns(parts)
    return modules, columns


def _submodule(model: nn.Module, path: str) -> nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        raise SynopticError(f"the adapter has weights for '{path}', which this base lacks",
                            "use the base that the adapter was made for") from error  # fmt: skip


def _one_pair(parts: Parts) -> Pair:
    scale = _common_scale([pair for slots in parts.values() for _, pair in slots])
    pairs = {part: _beside([pair.at(scale) for _, pair in slots]) for part, slots in parts.items()}
    return pairs[None] if None in pairs else _packed({part: pairs[part] for part in PARTS if part in pairs}, scale)


def _beside(pairs: Sequence[Pair]) -> Pair:
    """One pair whose update is the sum of all, exactly: factors of slots side by side along the rank."""
    if len(pairs) == 1:
        return pairs[0]
    A_RD, B_OR = torch.cat([pair.A_rD for pair in pairs]), torch.cat([pair.B_Or for pair in pairs], dim=1)
    return Pair(A_RD, B_OR, pairs[0].scale)


def _columns(parts: Parts) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    start = 0
    for part in sorted(parts, key=lambda part: PARTS.get(part or "", -1)):
        for stem, pair in parts[part]:
            found[stem] = (start, start + pair.rank)
            start += pair.rank
    return found


def _common_scale(pairs: Collection[Pair]) -> float:
    scales = {pair.scale for pair in pairs}
    return scales.pop() if len(scales) == 1 else 1.0


def _packed(pairs: Mapping[str, Pair], scale: float) -> Pair:
    """One pair of rank ``sum r`` on a packed weight; parts without factors stay zero."""
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

    Raises:
        SynopticError: an adapted output projection of `nn.MultiheadAttention`, or sites that the file lacks.
    """
    found, modules = modules, _without_output_projections(modules)
    places = {stem: _place(stem, owned, modules) for stem, owned in columns.items()}
    if not places or not _accounts_for(places.values(), modules):
        towers = {place.module: stem.split("/", 1)[0] for stem, place in places.items()}
        places = {}
        for module, pair in modules.items():
            places |= _general(module, pair, towers.get(module) or tower_of(module), module + OUT in found)
    result: dict[str, Pair] = {}
    for stem, place in places.items():
        pair, (start, stop) = modules[place.module], place.columns
        rows = place.rows(pair.B_Or.shape[0])
        result[stem] = Pair(pair.A_rD[start:stop].clone(), pair.B_Or[rows, start:stop].clone(), pair.scale)
    return result


def _place(stem: str, columns: tuple[int, int], modules: Mapping[str, Pair]) -> Place:
    path, part = split_name(stem.split("/lora/", 1)[-1])
    if path not in modules:
        raise SynopticError(f"the adapter file has no weights for '{path}'", "export it again")
    return Place(path, part, columns)


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


def _general(module: str, pair: Pair, tower: str, attention: bool) -> dict[str, Place]:
    """A pair somebody else made: a packed one is three sites that share ``A`` and split the rows of ``B``."""
    stem = f"{tower}/lora/{module}"
    fused = module.rpartition(".")[2] in FUSED and pair.B_Or.shape[0] % len(PARTS) == 0
    parts: list[str | None] = [*PARTS] if attention or fused else [None]
    return {f"{stem}#{part}" if part else stem: Place(module, part, (0, pair.rank)) for part in parts}


def _without_output_projections(modules: Mapping[str, Pair]) -> dict[str, Pair]:
    for name, pair in modules.items():
        if name.endswith(OUT) and pair.A_rD.any() and pair.B_Or.any():
            raise SynopticError(f"the adapter changes '{name.replace(OUT, '.out_proj')}' of an nn.MultiheadAttention, "
                                "which PEFT up to 0.21 adds twice", "train it without that module")  # fmt: skip
    return {name: pair for name, pair in modules.items() if not name.endswith(OUT)}


def tower_of(path: str) -> str:
    """The tower that a module of a Hugging Face model belongs to.

    >>> tower_of("text_model.encoder.layers.0.mlp.fc1")
    'text'
    >>> tower_of("model.visual.merger.mlp.0")
    'connector'
    """
    for start, tower in TOWERS.items():
        if path.startswith(f"{start}."):
            return tower
    raise SynopticError(f"the adapter has weights for '{path}', which is in no tower that Synoptic knows",
                        "import adapters made for whole CLIP, SigLIP, LLaVA, Qwen-VL or Idefics3 models")  # fmt: skip
