"""Small rollouts of tiny random models for the tests of policies that answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from answerers import base, lora, odd_table, reference, row_inputs
from helpers import randomised
from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import leaves, stack_of
from synoptic.core.seeds import generator
from synoptic.learning.answer_rows import AnswerRows
from synoptic.learning.rollouts import Rollout, roll_out
from synoptic.models.answerer.decode import Decoding
from synoptic.models.cache import Budget

ROWS = np.arange(8)
KINDS = ("llava", "qwen2_vl", "smolvlm")
SPECS: dict[str, dict[str, Any]] = {
    "last block": {"text": {"lora": {"layers": 1}}},
    "upper blocks": {"text": {"lora": {"layers": 2, "targets": ["q", "v", "fc2"]}}},
    "all blocks": {"text": lora()},
    "all": {"text": lora(), "connector": "lora", "vision": lora()},
}
HOW = Decoding(samples=4, tokens=6, temperature=1.3)


def adapter(family: str = "llava", what: str = "upper blocks", seed: int = 0, size: float = 0.1) -> TensorDict:
    """One random adapter; of size zero a fresh one."""
    one = base(family).new_adapter(AdapterSpec.model_validate(SPECS[what]), seed)
    return randomised(one, seed, size) if size else one


def worn(family: str = "llava", what: str = "upper blocks", clients: int = 1) -> dict[str, Tensor]:
    """A stack of random adapters."""
    return leaves(stack_of([adapter(family, what, seed) for seed in range(clients)]))


def seen(family: str = "llava", cached: bool = True) -> AnswerRows:
    """Rows about pictures of different sizes."""
    return AnswerRows(base(family), odd_table(), ROWS, Budget(2**24) if cached else None)


def roll(
    family: str, stack: dict[str, Tensor], rows: AnswerRows, positions_KB: np.ndarray, how: Decoding = HOW
) -> Rollout:
    """Each client's draws are named by its number."""
    streams = [generator(0, "roll", client) for client in range(len(positions_KB))]
    return roll_out(base(family), stack, rows, positions_KB, how, streams)


def ragged(rollout: Rollout, seed: int = 0) -> Rollout:
    """The same answers cut anywhere: a random model hardly ever ends one."""
    rng = torch.Generator().manual_seed(seed)
    length = torch.randint(1, rollout.ids.shape[2] + 1, rollout.length.shape, generator=rng)
    cut = replace(rollout, length=length)
    return replace(cut, log_old=torch.where(cut.counted, rollout.log_old, 0.0))


def plain_log_p(family: str, tensors: dict[str, Tensor], rows: AnswerRows, rollout: Rollout) -> Tensor:
    """``[N, G, T]`` by the library's own model with merged weights, one answer at a time; zero behind the end.

    NaN for answers with the picture's token, which the library does not take for a word.
    """
    model, plain = base(family), reference(family)
    weights, merged = dict(plain.named_parameters()), {}
    for name in (name for name in tensors if name.endswith("/A")):
        stem, path = name[:-2], name[:-2].split("/lora/")[1] + ".weight"
        merged[path] = weights[path] + tensors[f"{stem}/scale"] * tensors[f"{stem}/B"] @ tensors[name]
    found = []
    views = model.family.views(odd_table().images.load(rollout.positions))
    prompts = rows.rows(rollout.positions)
    for n, view in enumerate(views):
        prompt = prompts.ids[n, : int(prompts.prompt[n])]
        for said, length in zip(rollout.ids[n], rollout.length[n].tolist(), strict=True):
            if bool((said[:length] == model.family.image_id).any()):
                found.append(torch.full((len(said),), torch.nan))
                continue
            inputs = row_inputs(model, view, torch.cat([prompt, said[:length]]))
            logits = torch.func.functional_call(plain, merged, (), inputs).logits[0, len(prompt) - 1 : -1]
            log_p = (logits / rollout.temperature).log_softmax(-1).gather(1, said[:length, None])[:, 0]
            found.append(torch.nn.functional.pad(log_p, (0, len(said) - length)))
    return torch.stack(found).view(rollout.ids.shape)
