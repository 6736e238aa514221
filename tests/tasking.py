"""Shared by the tests of several tasks: five tasks for the session's random bases, and random blocks for them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from helpers import base, randomised
from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import expand
from synoptic.core.seeds import generator
from synoptic.data.task_spec import TaskWorldSpec
from synoptic.data.task_world import build_tasks
from synoptic.data.tasks import Task
from synoptic.federation.bench import Bench, make_bench
from synoptic.learning.spec import TrainSpec
from synoptic.models.cache import Budget
from synoptic.models.multitask import MultiTask, MultiTaskSpec
from synoptic.models.multitask.backbone import Features

TASKS = {
    task.name: task
    for task in (
        Task("shapes", "classify", ("image",), ("circle", "seven", "digit")),
        Task("colours", "classify", ("text",), ("red", "photo")),
        Task("pictures", "reconstruct", ("image",)),
        Task("questions", "generate", ("image", "text")),
        Task("captions", "generate", ("image",)),
        Task("echo", "generate", ("text",)),
        Task("matches", "classify", ("image", "text"), ("seven", "red")),
    )
}
TEXTS = ("a photo of a red circle .", "seven", "the digit seven .", "red", "a circle", "the photo")
ANSWERS = ("red", "seven circle", "the digit .", "circle", "red digit seven", "photo")


@cache
def multitask(family: str = "clip") -> MultiTask:
    """All tasks over the session's base of a family."""
    return MultiTask(base(family), TASKS.values(), MultiTaskSpec(rank=8, head_rank=8, heads=2))


def drawn(model: MultiTask, tasks: Sequence[str], clients: int, seed: int = 0) -> TensorDict:
    """Random blocks of clients who have these tasks, all different ``[K]``."""
    fresh = expand(model.new_adapter(tasks, 0), clients)
    return randomised(fresh, seed, 0.3)


def pictures(n: int, seed: int = 0) -> Tensor:
    """Random pixels ``[n, 3, 32, 32]``."""
    return torch.randn(n, 3, 32, 32, generator=generator(seed, "tests", "pixels"))


def inputs(name: str, n: int) -> dict[str, object]:
    """What a task reads of ``n`` rows, for `MultiTask.read`."""
    reads = TASKS[name].modalities
    found: dict[str, object] = {}
    if "image" in reads:
        found["pixels"] = pictures(n)
    if "text" in reads:
        found["texts"] = list(TEXTS[:n])
    return found


def output(model: MultiTask, worn: dict[str, Tensor], name: str, seen: Features, first: int = 0) -> Tensor:
    """What the head of a task gives for ``n`` rows ``[n, ...]``; of texts, from ``first`` on, the logits of words."""
    kind = TASKS[name].kind
    if kind == "classify":
        return model.logits(worn, name, seen)
    if kind == "reconstruct":
        return model.pixels(worn, name, seen)
    answers = model.writer.encode(ANSWERS[first : first + len(seen.tokens)])
    return model.writer.logits(worn, model.writing(name), seen, answers)


ADAPTER = {
    "vision": {"lora": {"rank": 2, "layers": 1}},
    "text": {"lora": {"rank": 2, "layers": 1}},
    "backbone": {"rank": 8, "head_rank": 8, "heads": 2},
}
THREE = (("shapes",), ("colours",), ("shapes", "colours"))
"""Three kinds of clients, of which two share each task."""


def task_bench(
    archetypes: Sequence[Sequence[str]] = THREE, groups: int = 1, rounds: int = 2, validation: float = 0.2,
    rows: int = 10, **train: Any,
) -> Bench:  # fmt: skip
    """A workbench of the world's tasks on the session's random CLIP; ``train`` are fields of `TrainSpec`."""
    spec = TaskWorldSpec(archetypes=tuple(map(tuple, archetypes)), groups=groups, train=rows, test=4,
                         validation=validation)  # fmt: skip
    how = TrainSpec(**({"batch_size": 8, "optimizer": "sgd", "lr": 0.1} | train))
    adapter = AdapterSpec.model_validate(ADAPTER)
    return make_bench(base(), build_tasks(spec, 0), adapter, how, 0, rounds, Budget(2**26))
