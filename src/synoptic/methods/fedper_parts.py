"""Which tensors of an adapter a client may keep for itself: by name alone.

A low-rank pair has an input side and an output side: A and B of LoRA, ``down`` and ``up`` of an expert, the three
projections and ``out`` of an attention block. Heads and prompts have no side and go with whatever is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from tensordict import TensorDict

from synoptic.adapters.blocks import block_of
from synoptic.adapters.stack import names, trainable_names
from synoptic.core import SynopticError

HEADS = ("head/*", "*/head/*")
SIDES = {
    "inputs": ("*/lora/*/A", "*/down", "*/query", "*/key", "*/value"),
    "outputs": ("*/lora/*/B", "*/up", "*/out"),
}
LAYER = re.compile(r"\.(\d+)\.")
SHARED = "/shared"


def kept(one: TensorDict, own: str | tuple[str, ...]) -> list[str]:
    """The tensors that are personal, with the scale of every LoRA pair of which nothing is shared.

    Args:
        one: an adapter of everybody's.
        own: ``last`` (heads; without any the last adapted layer of each tower), ``inputs`` or ``outputs`` of low-rank
            pairs with heads and prompts, ``task`` (blocks of a single task), or name patterns.

    Raises:
        SynopticError: nothing that could be kept, nothing that is left to share, or a pattern that matches nothing.
    """
    movable = trainable_names(one)
    chosen = set(trainable_names(one, own)) if isinstance(own, tuple) else {n for n in movable if _is(n, own, movable)}
    if own and not chosen:
        raise SynopticError(f"method.own={own} finds nothing of its kind in this adapter", _instead(own))
    if len(chosen) == len(movable):
        raise SynopticError(f"with method.own={_shown(own)} all of the adapter is personal, and nothing is shared",
                            "adapt more layers, name less, or take the method local")  # fmt: skip
    scales = {name for name in names(one) if name.endswith("/scale") and _pair(name) <= chosen}
    return sorted(chosen | scales)


def trained_of(stack: TensorDict) -> list[str]:
    """What an optimiser may move; nothing of nothing."""
    return [name for name in names(stack) if not name.endswith("/scale")]


def declared(own: str | tuple[str, ...]) -> tuple[str, ...]:
    """Name patterns of what is personal in any adapter; ``last`` may mean more, which depends on the adapter."""
    if isinstance(own, tuple):
        return own
    return (*HEADS, *(("*/prompt/*", *SIDES[own]) if own in SIDES else ()))


def _is(name: str, own: str, movable: list[str]) -> bool:
    if own == "last":
        heads = [other for other in movable if _like(other, HEADS)]
        return name in (heads or _last_layers(movable))
    if own == "task":
        return _of_one_task(name)
    return _like(name, declared(own))


def _like(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _last_layers(movable: list[str]) -> list[str]:
    """LoRA in the highest adapted layer of every tower."""
    layers = {name: int(found[1]) for name in movable if (found := LAYER.search(name)) is not None}
    last = {tower: max(layer for name, layer in layers.items() if _tower(name) == tower)
            for tower in {_tower(name) for name in layers}}  # fmt: skip
    return [name for name, layer in layers.items() if layer == last[_tower(name)]]


def _tower(name: str) -> str:
    return name.partition("/lora/")[0]


def _of_one_task(name: str) -> bool:
    """Heads, and in the backbone what belongs to one task: beside it lie blocks that others have too."""
    kind, _, what = block_of(name).partition("/")
    return kind == "head" or (kind == "mome" and f"/{what}" != SHARED) or (kind == "expert" and "." in what)


def _pair(scale: str) -> set[str]:
    stem = scale.rpartition("/")[0]
    return {f"{stem}/A", f"{stem}/B"}


def _shown(own: str | tuple[str, ...]) -> str:
    return own if isinstance(own, str) else f"[{', '.join(own)}]"


def _instead(own: str | tuple[str, ...]) -> str:
    return "set data=tasks, or another part" if own == "task" else "adapt with LoRA or a head, or name what is personal"
