"""Slots: several LoRA pairs on one site, whose updates add up.

``vision/lora/<site>/A`` is the main pair of a site; ``vision/lora/<site>@<slot>/A`` is a further one. A frozen update
that everybody shares, or an adapter of a client's own beside the shared one, is worn in a slot: nothing of the base
moves. Wearing, means, norms, byte counts and PEFT's format take slots as they are; `synoptic.adapters.algebra.joined`
makes one pair of them.
"""

from __future__ import annotations

import re

from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.stack import names
from synoptic.core import SynopticError


def site_of(stem: str) -> str:
    """A pair's name without its slot.

    >>> site_of("vision/lora/blocks.0.qkv#q@own")
    'vision/lora/blocks.0.qkv#q'
    """
    return stem.partition("@")[0]


def slot_of(name: str) -> str | None:
    """The slot that a tensor (or pair) lies in; None is the main pair, and everything that is no LoRA.

    >>> slot_of("vision/lora/blocks.0.proj@own/A")
    'own'
    """
    return name.partition("@")[2].partition("/")[0] or None


def in_slot(stack: TensorDict, slot: str) -> TensorDict:
    """The same pairs as further ones of their sites: main pairs move into ``slot``. No copy.

    Raises:
        SynopticError: a slot of an odd name, or tensors that are no LoRA or lie in a slot already.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", slot):
        raise SynopticError(f"'{slot}' cannot be the name of a slot", "use small letters, digits and _")
    odd = [name for name in names(stack) if "/lora/" not in name or slot_of(name) is not None]
    if odd:
        raise SynopticError(f"{odd[0]} cannot move into slot '{slot}'", "only main LoRA pairs can")
    return TensorDict({_moved(name, slot): stack[name] for name in names(stack)}, batch_size=stack.batch_size)


def of_slot(stack: TensorDict, slot: str | None) -> TensorDict:
    """The pairs of one slot as main pairs, the inverse of `in_slot`; with None everything that lies in no slot."""
    chosen = {name: stack[name] for name in names(stack) if slot_of(name) == slot}
    plain = {name if slot is None else name.replace(f"@{slot}/", "/"): tensor for name, tensor in chosen.items()}
    return TensorDict(plain, batch_size=stack.batch_size)


def together(*stacks: TensorDict) -> TensorDict:
    """All tensors of several adapters (or stacks of the same clients) as one. No copy.

    Raises:
        SynopticError: a tensor that two of them have, or stacks of different sizes.
    """
    result: dict[str, Tensor] = {}
    for stack in stacks:
        twice = sorted(result.keys() & set(names(stack)))
        if twice:
            raise SynopticError(f"{twice[0]} would be worn twice", "put one of the adapters into a slot")
        if stack.batch_size != stacks[0].batch_size:
            sizes = f"{list(stacks[0].batch_size)} and {list(stack.batch_size)}"
            raise SynopticError(f"adapters with client axes {sizes} cannot be worn together", "expand the smaller one")
        result |= {name: stack[name] for name in names(stack)}
    return TensorDict(result, batch_size=stacks[0].batch_size)


def _moved(name: str, slot: str) -> str:
    stem, _, part = name.rpartition("/")
    return f"{stem}@{slot}/{part}"
