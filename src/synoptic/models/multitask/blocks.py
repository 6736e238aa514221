"""Which blocks a task's forward pass touches, and how large they are.

    encoder/<m>                 LoRA in the tower of modality m
    mote/shared, mote/<m>       attention among the tokens of one modality
    expert/shared, expert/<m>, expert/<m>.<o>      a bottleneck on every token
    mome/shared, mome/<o>       attention among all tokens of the task: where image and text meet
    head/<task>                 from features to what is wanted

m is a modality, o the task's family (its own name as a rule). After TAP (arXiv 2509.26524, section 3), where the
blocks of one modality are mixtures of task experts and those of one task mixtures of modality experts.

Legend: E joint width, r rank.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from synoptic.core.seeds import generator
from synoptic.data.tasks import Modality, Task

SHARED = "shared"
ATTENTION = ("query", "key", "value", "out")


def encoder_block(modality: Modality) -> str:
    """The block of one tower."""
    return f"encoder/{modality}"


def mote_blocks(modality: Modality) -> tuple[str, str]:
    """Shared and own attention of a modality."""
    return f"mote/{SHARED}", f"mote/{modality}"


def expert_blocks(task: Task, modality: Modality) -> tuple[str, str, str]:
    """Experts that a task's tokens of a modality pass: everybody's, the modality's, the pair's."""
    return f"expert/{SHARED}", f"expert/{modality}", f"expert/{modality}.{task.family}"


def mome_blocks(task: Task) -> tuple[str, str]:
    """Shared and own attention of a task."""
    return f"mome/{SHARED}", f"mome/{task.family}"


def head_block(task: Task) -> str:
    """The task's head."""
    return f"head/{task.name}"


def path(task: Task, encoders: Iterable[Modality]) -> tuple[str, ...]:
    """All blocks that the task's forward pass touches, in its order; each once.

    Args:
        task: which.
        encoders: modalities whose tower is adapted.
    """
    adapted = set(encoders)
    route = [encoder_block(m) for m in task.modalities if m in adapted]
    for modality in task.modalities:
        route += [*mote_blocks(modality), *expert_blocks(task, modality)]
    return tuple(dict.fromkeys([*route, *mome_blocks(task), head_block(task)]))


def fresh(name: str, shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """One block's first tensors, from a stream of its own: whoever makes the block makes the same.

    Matrices that are added to the token stream (``out``, ``up``) and biases are zero, so a new block changes nothing.
    """
    rng = generator(seed, "block", name)
    made: dict[str, Tensor] = {}
    for part, shape in shapes.items():
        last = part.rsplit("/", 1)[-1]
        zero = last in ("out", "up") or len(shape) == 1
        bound = shape[-1] ** -0.5
        made[f"{name}/{part}"] = torch.zeros(shape) if zero else (torch.rand(shape, generator=rng) * 2 - 1) * bound
    return made


def attention_shapes(width: int, rank: int) -> dict[str, tuple[int, ...]]:
    """``query``, ``key``, ``value`` ``[r, E]`` and ``out`` ``[E, r]``."""
    return {part: (width, rank) if part == "out" else (rank, width) for part in ATTENTION}


def bottleneck_shapes(width: int, rank: int) -> dict[str, tuple[int, ...]]:
    """``down`` ``[r, E]`` and ``up`` ``[E, r]``."""
    return {"down": (rank, width), "up": (width, rank)}
