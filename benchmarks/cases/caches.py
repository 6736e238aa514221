"""What the cache saves: the frozen part once per image for a whole run, against a loop that computes it every time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from benchmarks.bare import Workload, embed_pooled, fedavg_round, head_loss, load_clip, prompt_loss
from benchmarks.cases.overhead import agreement, bare_round
from benchmarks.measure import Result, interleaved, paired, rounded, timed
from benchmarks.workload import LORA, Job, digits, evenly, job, large_digits, six_blocks, vit_b_32
from synoptic.data.federated import FederatedData
from synoptic.models.dual_encoder import DualEncoder
from synoptic.models.load import load_dual_encoder

MODEL = "a CLIP of tiny-clip's sizes with six image blocks and random weights"
MODELS = {"": MODEL, "_vitb": "CLIP ViT-B/32 with random weights"}
HEAD, PROMPT = "vision/head/weight", "text/prompt/context"
FEATURES: dict[str, tuple[dict[str, Any], str]] = {
    "head": ({"vision": "head"}, "a residual linear head on the image embedding"),
    "prompt": ({"text": "prompt"}, "four context vectors in the class prompts"),
}


def measure(quick: bool) -> Result:
    """`prefix_cache_speedup` and `feature_cache_speedup*`, one thread on both sides."""
    torch.set_num_threads(1)
    result = Result()
    with TemporaryDirectory(prefix="synoptic-bench-") as folder:
        clip = six_blocks(Path(folder))
        model = load_dual_encoder(str(clip))
        result.merge(_prefix(model, clip, quick))
        for kind in FEATURES:
            result.merge(_feature(model, clip, digits(quick), kind, "", 3 if quick else 9))
    if not quick:
        result.merge(_large())
    key = "feature_cache_speedup"
    result.figures[key], result.repeats[key] = result.figures[f"{key}_head"], result.repeats[f"{key}_head"]
    result.notes[key] = {"what": "the same as feature_cache_speedup_head"}
    return result


def _large() -> Result:
    """The feature cache again, on the size of model that people use; fewer images, for the bare loop takes seconds."""
    result, data = Result(), evenly(large_digits(32, 224), 2)
    with TemporaryDirectory(prefix="synoptic-bench-") as folder:
        clip = vit_b_32(Path(folder))
        model = load_dual_encoder(str(clip))
        for kind in FEATURES:
            result.merge(_feature(model, clip, data, kind, "_vitb", 5))
    return result


def _prefix(model: DualEncoder, clip: Path, quick: bool) -> Result:
    data = digits(quick)
    cached, uncached = job(model, data, LORA, cache=True), job(model, data, LORA, cache=False)
    plain, stack = cached.plain(), cached.auto_stack(threads=1)
    # `auto_stack` filled a part of the cache, so a fresh job tells what the first round costs.
    fresh = job(model, data, LORA, cache=True).server(1)
    first = timed(fresh.first)
    alone, auto, off = cached.server(1), cached.server(stack), uncached.server(1)
    contenders = {
        "bare": bare_round(clip, plain),
        "bare, pooled token only": bare_round(clip, plain, embed_pooled),
        "synoptic, no cache, stack=1": off.first,
        "synoptic, cache, stack=1": alone.first,
        "synoptic, cache, stack=auto": auto.first,
    }
    apart = agreement(alone.first(), contenders["bare"]())
    times = interleaved(contenders, repeats=3 if quick else 7)
    result = Result(seconds={"prefix_cache": rounded(times)})
    result.add("prefix_cache_speedup", paired(times["bare"], times["synoptic, cache, stack=1"]))
    result.add("prefix_cache_speedup_auto", paired(times["bare"], times["synoptic, cache, stack=auto"]))
    result.add("prefix_cache_speedup_own",
               paired(times["synoptic, no cache, stack=1"], times["synoptic, cache, stack=1"]))  # fmt: skip
    result.notes["prefix_cache_speedup"] = {
        "what": "the bare loop's round over one round of fedavg with the prefix cache filled, both one client after "
        "another, one thread; _auto: with the stack that a run chooses; _own: against Synoptic without the cache",
        "model": f"{MODEL}, LoRA r=4 on q,k,v of the last two image blocks", "examples": plain.offsets[-1],
        "first_round_with_fill_seconds": round(first, 4), "stack_auto": stack, "farthest_weight": apart,
    }  # fmt: skip
    return result


def _feature(model: DualEncoder, clip: Path, data: FederatedData, kind: str, suffix: str, repeats: int) -> Result:
    adapter, what = FEATURES[kind]
    here = job(model, data, adapter, cache=True)
    plain = here.plain()
    first = timed(job(model, data, adapter, cache=True).server(1).first)
    stack = here.auto_stack(threads=1)
    alone, auto = here.server(1), here.server(stack)
    contenders = {
        "bare": _bare_feature(here, clip, plain, kind),
        "synoptic, stack=1": alone.first,
        "synoptic, stack=auto": auto.first,
    }
    apart = agreement(auto.first(), contenders["bare"]())
    times = interleaved(contenders, repeats)
    key = f"feature_cache_speedup_{kind}{suffix}"
    result = Result(seconds={f"feature_cache_{kind}{suffix}": rounded(times)})
    result.add(key, paired(times["bare"], times["synoptic, stack=auto"]))
    result.add(f"{key}_stack1", paired(times["bare"], times["synoptic, stack=1"]))
    result.notes[key] = {
        "what": f"{what} on cached features over a bare loop that runs the frozen image tower (without gradient) "
        "on every batch; one epoch of every client, one thread; the stack is the one that a run chooses",
        "model": MODELS[suffix], "examples": plain.offsets[-1], "clients": plain.clients, "stack_auto": stack,
        "first_round_with_fill_seconds": round(first, 4), "farthest_weight": apart,
    }  # fmt: skip
    return result


def _bare_feature(here: Job, clip: Path, plain: Workload, kind: str) -> Callable[[], Any]:
    model = load_clip(clip)
    name = HEAD if kind == "head" else PROMPT
    parameter = nn.Parameter(plain.start[name].clone())
    if kind == "head":
        loss = head_loss(model, plain, parameter)
    else:
        data, clip_model = here.bench.data, here.bench.model
        assert isinstance(clip_model, DualEncoder)
        tokens = clip_model.tokenize([data.prompts()[index] for index in data.base_classes])
        loss = prompt_loss(model, plain, tokens.ids_NT, parameter)
    return partial(fedavg_round, {name: parameter}, loss, plain.start, plain, 0)
