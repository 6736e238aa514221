"""What the engine costs: a round of `fedavg` against the bare loop on the same tensors, with nothing cached."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.bare import Workload, embed, embed_pooled, fedavg_round, load_clip, lora_loss, wear
from benchmarks.measure import Result, interleaved, paired, rounded
from benchmarks.workload import LORA, digits, farthest, job, tiny_clip
from synoptic.models.load import load_dual_encoder

CLOSE = 1e-4
"""How far the final weights of two engines may be apart after a round; they sum in different orders."""


def bare_round(folder: Any, plain: Workload, embedding: Callable[[Any, Tensor], Tensor] = embed) -> Callable[[], Any]:
    """A round of the bare LoRA loop on a model of its own."""
    model = load_clip(folder)
    parameters = wear(model, plain.start)
    return partial(fedavg_round, parameters, lora_loss(model, plain, embedding), plain.start, plain, 0)


def agreement(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """Largest difference of two sides' weights.

    Raises:
        RuntimeError: they do not train the same thing, so timing them would be meaningless.
    """
    apart = farthest(ours, theirs)
    if not apart < CLOSE:
        raise RuntimeError(f"the two sides' weights are {apart:.2g} apart after one round; the bound is {CLOSE:g}")
    return apart


def measure(quick: bool) -> Result:
    """`overhead_ratio` and its variants, one thread on both sides."""
    torch.set_num_threads(1)
    model = load_dual_encoder("tiny-clip")
    here = job(model, digits(quick), LORA, cache=False)
    plain = here.plain()
    stack = here.auto_stack(threads=1)
    alone, auto = here.server(1), here.server(stack)
    contenders = {
        "bare": bare_round(tiny_clip(), plain),
        "bare, pooled token only": bare_round(tiny_clip(), plain, embed_pooled),
        "synoptic, stack=1": alone.first,
        "synoptic, stack=auto": auto.first,
    }
    apart = {name: agreement(auto.first(), contenders[name]()) for name in list(contenders)[:2]}
    apart["synoptic, stack=1"] = agreement(alone.first(), contenders["bare"]())
    times = interleaved(contenders, repeats=3 if quick else 9)
    result = Result(seconds={"overhead": rounded(times)})
    for suffix, name in (("", "auto"), ("_auto", "auto"), ("_stack1", "1")):
        ours = times[f"synoptic, stack={name}"]
        result.add(f"overhead_ratio{suffix}", paired(ours, times["bare"]))
        result.add(f"overhead_ratio_same_arithmetic{suffix}", paired(ours, times["bare, pooled token only"]))
    result.notes["overhead"] = {
        "what": "one round of fedavg over the bare loop's round; prefix cache off, one thread on both sides",
        "same_arithmetic": "the bare loop also computes the last block for the pooled token only, as Synoptic does",
        "examples": plain.offsets[-1], "clients": plain.clients, "batch_size": plain.batch_size,
        "model": "tiny-clip, LoRA r=4 on q,k,v of the last two image blocks", "stack_auto": stack, "threads": 1,
        "farthest_weight": apart,
    }  # fmt: skip
    return result
