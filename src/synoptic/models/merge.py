"""An adapter inside the weights: a whole model that `transformers` alone computes with.

LoRA becomes W + scale B A. A head, z + H z on a tower's embedding z = P h + b, becomes (1 + H) P and (1 + H) b where
the tower ends in such a projection. Prompts are inputs and not weights: no weight can hold them.
"""

from __future__ import annotations

from pathlib import Path

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from synoptic.adapters.algebra import dense, lora_stems
from synoptic.adapters.sites import PARTS, split_name
from synoptic.adapters.stack import names
from synoptic.core import SynopticError
from synoptic.models.load import Base, save_processors

PROJECTIONS = {"vision": ("visual_projection",), "text": ("text_projection", "text_model.head")}
"""Where the linear map at a tower's end lies, in CLIP and in SigLIP; SigLIP's image tower has none."""


def check_mergeable(one: TensorDict, base: Base | None = None) -> None:
    """Refuse what weights cannot hold; without the rest of the adapter they would compute something else.

    Args:
        one: the adapter.
        base: without it only what no base can hold is looked for.

    Raises:
        SynopticError: prompts, or a head on a tower that does not end in a projection.
    """
    for name in names(one):
        if "/prompt/" in name:
            reason = "which are inputs of the model and not weights"
        elif "/head/" in name and base is not None and _projection(base, name.split("/", 1)[0]) is None:
            reason = "and this tower does not end in a projection that could take it up"
        else:
            continue
        raise SynopticError(f"the adapter has {name}, {reason}, so it cannot be merged",
                            "export it without --merged; `synoptic predict` wears the adapter as it is")  # fmt: skip


@torch.no_grad()
def merge(base: Base, one: TensorDict) -> None:
    """Put an adapter (batch size ``[]``) into the base's own weights, for good: load the base anew for the next.

    Sums run in float64 and are rounded once.

    Raises:
        SynopticError: what `check_mergeable` refuses, or a site that the base does not have.
    """
    check_mergeable(one, base)
    exact = one.double()
    for stem in lora_stems(one):
        weight, rows = _weight(base.model, stem.split("/lora/", 1)[1])
        weight[rows] = (weight[rows].double() + dense(exact, stem)).to(weight.dtype)
    for name in names(one):
        if "/head/" in name:
            projection = _projection(base, name.split("/", 1)[0])
            assert projection is not None
            _follow(projection, exact[name])


def save_merged(base: Base, folder: Path) -> None:
    """Write a model as `transformers` reads it: weights, configuration, tokenizer, image processor."""
    base.model.save_pretrained(folder)
    save_processors(base.name, folder)


def _weight(model: nn.Module, site: str) -> tuple[Tensor, slice]:
    """The weight that a site lies on, and the site's rows of it."""
    path, part = split_name(site)
    try:
        module = model.get_submodule(path)
    except AttributeError as error:
        raise SynopticError(f"the adapter has weights for '{path}', which this model lacks",
                            "use the base that the adapter was made for") from error  # fmt: skip
    weight = module.in_proj_weight if isinstance(module, nn.MultiheadAttention) else module.weight
    assert isinstance(weight, Tensor)
    if part is None:
        return weight, slice(None)
    width = weight.shape[0] // len(PARTS)
    return weight, slice(PARTS[part] * width, (PARTS[part] + 1) * width)


def _projection(base: Base, tower: str) -> nn.Linear | None:
    for path in PROJECTIONS[tower]:
        try:
            module = base.model.get_submodule(path)
        except AttributeError:
            continue
        if isinstance(module, nn.Linear):
            return module
    return None


def _follow(projection: nn.Linear, head_EE: Tensor) -> None:
    """Replace a projection by itself followed by z + H z."""
    for tensor in (projection.weight, projection.bias):
        if tensor is not None:
            tensor += (head_EE @ tensor.double()).to(tensor.dtype)
