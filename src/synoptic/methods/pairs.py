"""Two LoRA pairs on every site, for the methods that wear a client's own beside somebody else's.

Legend: K clients, D inputs.
"""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.algebra import lora_stems
from synoptic.adapters.binding import mixer_of
from synoptic.adapters.slots import in_slot, together
from synoptic.adapters.spec import AdapterSpec, TowerSpec
from synoptic.adapters.stack import names
from synoptic.core import SynopticError
from synoptic.federation.bench import Bench


def first_pairs(bench: Bench, seed: int, halve: bool = False) -> TensorDict:
    """A fresh adapter with LoRA whose update is zero; at half the rank where two pairs are to be as large as one.

    Raises:
        SynopticError: an adapter without LoRA, or of a rank that has no half.
    """
    spec = halved(bench.adapter) if halve else bench.adapter
    adapter = bench.model.new_adapter(spec, seed)
    if not lora_stems(adapter):
        raise SynopticError("this method wears two LoRA pairs on every site, and the adapter has none",
                            "set adapter.vision or adapter.text to lora")  # fmt: skip
    return adapter


def halved(spec: AdapterSpec) -> AdapterSpec:
    """The same adapter with half of every LoRA rank and the same scales."""
    towers: dict[str, Any] = {}
    for name in type(spec).model_fields:
        tower = getattr(spec, name)
        if isinstance(tower, TowerSpec) and tower.lora is not None:
            lora = tower.lora
            if lora.rank < 2:
                raise SynopticError(f"adapter.{name}.lora.rank={lora.rank} has no half",
                                    "use a rank of at least 2 with method.match")  # fmt: skip
            rank = lora.rank // 2
            alpha = None if lora.alpha is None else lora.alpha * rank / lora.rank
            towers[name] = tower.model_copy(update={"lora": lora.model_copy(update={"rank": rank, "alpha": alpha})})
    return spec.model_copy(update=towers)


def lora_of(stack: TensorDict) -> TensorDict:
    """The LoRA pairs alone; no copy."""
    return stack.select(*[f"{stem}/{part}" for stem in lora_stems(stack) for part in ("A", "B", "scale")])


def weighed(stack: TensorDict, share: float | dict[str, Tensor]) -> TensorDict:
    """The same adapter with every LoRA scale times ``share``: one number, or one ``[K]`` by the name of the pair."""
    scales = {f"{stem}/scale": stack[f"{stem}/scale"] * (share if isinstance(share, float | int) else share[stem])
              for stem in lora_stems(stack)}  # fmt: skip
    return TensorDict({name: scales.get(name, stack[name]) for name in names(stack)}, batch_size=stack.batch_size)


def with_scales_of(stack: TensorDict, one: TensorDict) -> TensorDict:
    """The undoing of `weighed`: the adapter with the scales of another one of the same names."""
    scales = {name: one[name].expand(stack.batch_size) for name in names(one) if name.endswith("/scale")}
    return TensorDict({name: scales.get(name, stack[name]) for name in names(stack)}, batch_size=stack.batch_size)


def beside(main: TensorDict, second: TensorDict, slot: str, share: float) -> TensorDict:
    """Both at once: ``main`` at ``1 - share``, the LoRA pairs of ``second`` in a slot at ``share``."""
    return together(weighed(main, 1.0 - share), in_slot(weighed(lora_of(second), share), slot))


def mixers(one: TensorDict, by_token: bool) -> TensorDict:
    """Fresh mixers of two pairs on every site: equal shares, of the token or of the site."""
    fresh: dict[str, Tensor] = {}
    for stem in lora_stems(one):
        name, width = mixer_of(stem), one[f"{stem}/A"].shape[-1]
        fresh |= {f"{name}/weight": torch.zeros(2, width)} if by_token else {f"{name}/bias": torch.zeros(2)}
    return TensorDict(fresh, batch_size=[])


def gates(mixers_K: TensorDict, stems: list[str]) -> dict[str, Tensor]:
    """The second pair's share ``[K]`` at every site, where mixers do not look at the token."""
    return {stem: mixers_K[f"{mixer_of(stem)}/bias"].softmax(-1)[..., 1] for stem in stems}
