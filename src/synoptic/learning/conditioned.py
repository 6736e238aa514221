"""One adapter for several objectives: LoRA of which some ranks are everybody's and others each objective's own.

``h = W0 x + s (B A + B_o A_o) x`` for objective o, and without the second term for nobody's. It is one adapter of
rank r + K q, so it is trained, kept and resumed like any other; what an objective wears of it is a plain adapter of
rank r + q, which a stack holds side by side. So one step learns from all objectives at once, each with its own answers.

Legend: K objectives, O = K + 1 with nobody's before them, r shared ranks, q own ones of each, B questions of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.algebra import lora_stems
from synoptic.adapters.stack import expand, leaves, rank_axis
from synoptic.core import SynopticError
from synoptic.core.seeds import generator
from synoptic.learning.answer_policy import (
    MEASURES,
    AnswerPolicyLoss,
    AnswerPolicySpec,
    Judge,
    Judged,
    Stepped,
    minibatches,
)
from synoptic.learning.answer_rows import AnswerRows, Tensors
from synoptic.learning.batches import Batch
from synoptic.learning.descent import descend
from synoptic.learning.rollouts import roll_out
from synoptic.models.answerer import Answerer


class Parts(NamedTuple):
    """K objectives with q ranks each, in an adapter that has shared ones before them."""

    objectives: int
    rank: int

    @property
    def ranks(self) -> int:
        """All own ones, K q."""
        return self.objectives * self.rank


def widened(one: TensorDict, parts: Parts, seed: int) -> TensorDict:
    """The adapter with further ranks for each objective, whose update is zero and whose A is drawn like the others'."""
    wide = leaves(one)
    for stem in lora_stems(one):
        A, B = wide[f"{stem}/A"], wide[f"{stem}/B"]
        drawn = torch.randn(parts.ranks, A.shape[1], generator=generator(seed, "objectives", stem)) * A.std()
        wide[f"{stem}/A"] = torch.cat([A, drawn.to(A)])
        wide[f"{stem}/B"] = torch.cat([B, B.new_zeros(len(B), parts.ranks)], dim=1)
    return TensorDict(wide, batch_size=[])


def narrowed(one: TensorDict, parts: Parts) -> TensorDict:
    """What nobody in particular wears: the shared ranks alone."""
    kept = {}
    for name, tensor in leaves(one).items():
        axis = rank_axis(name)
        kept[name] = tensor if axis is None else tensor.narrow(axis, 0, tensor.shape[axis] - parts.ranks)
    return TensorDict(kept, batch_size=[])


def side_by_side(worn: Tensors, parts: Parts) -> dict[str, Tensor]:
    """What every objective wears ``[O, ...]`` of a worn stack with K = 1, with gradient; the first one is nobody's."""
    stack = {}
    for name, (tensor,) in worn.items():
        axis = rank_axis(name)
        if axis is None:
            stack[name] = tensor.expand(parts.objectives + 1, *tensor.shape)
            continue
        shared = tensor.shape[axis] - parts.ranks
        own = tensor.narrow(axis, shared, parts.ranks).unflatten(axis, tuple(parts)).movedim(axis, 0)
        own = torch.cat([own.new_zeros(1, *own.shape[1:]), own])
        common = tensor.narrow(axis, 0, shared)
        stack[name] = torch.cat([common.expand(len(own), *common.shape), own], dim=axis + 1)
    return stack


def of_objectives(one: TensorDict, parts: Parts, chosen: Sequence[int]) -> TensorDict:
    """What the ``chosen`` objectives wear of an adapter, a stack; whoever is none of the K wears what nobody does."""
    places = torch.tensor([place + 1 if 0 <= place < parts.objectives else 0 for place in chosen])
    stack = side_by_side(leaves(expand(one, 1)), parts)
    return TensorDict({name: tensor[places] for name, tensor in stack.items()}, batch_size=[len(places)])


def parts_of(one: TensorDict, plain: TensorDict, rank: int | None) -> Parts:
    """What `widened` made of an adapter like ``plain``; with no ``rank`` each has as many as are shared.

    Raises:
        SynopticError: an adapter without LoRA.
    """
    stem = next(iter(lora_stems(plain)), None)
    if stem is None:
        raise SynopticError("objectives have LoRA of their own beside the shared one, and the adapter has none",
                            "set adapter.text to lora")  # fmt: skip
    shared = len(plain[f"{stem}/A"])
    own = rank or shared
    return Parts((len(one[f"{stem}/A"]) - shared) // own, own)


class SideBySide:
    """`synoptic.learning.fit.Loss` of one adapter that several objectives wear, from the loss of what they wear."""

    def __init__(self, loss: Callable[[Tensors, Batch], Tensor], parts: Parts) -> None:
        self._loss = loss
        self._parts = parts

    def __call__(self, worn: Tensors, batch: Batch) -> Tensor:
        """Loss ``[1, O B]`` of rows that are objective-major."""
        objectives = self._parts.objectives + 1
        rows, weight = batch.rows.reshape(objectives, -1), batch.weight.view(objectives, -1)
        return self._loss(side_by_side(worn, self._parts), Batch(np.arange(objectives), rows, weight)).view(1, -1)


def step_each(
    model: Answerer, adapter: TensorDict, parts: Parts, rows: AnswerRows, positions_OB: NDArray[np.int64],
    reward: Judge, spec: AnswerPolicySpec, moments: TensorDict, generators: Sequence[torch.Generator],
    reference: Tensors | None = None,
) -> Stepped:  # fmt: skip
    """`synoptic.learning.answer_policy.step` for several objectives: each answers its own questions, one step learns.

    Args:
        model: the frozen base.
        adapter: the policy's, from `widened` (batch size ``[]``).
        parts: how it is divided.
        rows: the table's rows.
        positions_OB: which of them each objective is asked, nobody's first.
        reward: judges the answers, objective-major.
        spec: how to draw and learn.
        moments: those of the last step.
        generators: one for each of the O objectives, for this step alone.
        reference: what all are held to (K = 1).
    """
    worn = side_by_side(leaves(expand(adapter, 1)), parts)
    rollout = roll_out(model, worn, rows, positions_OB, spec.decoding, generators)
    found = reward(rollout.positions, rollout.texts)
    loss = AnswerPolicyLoss(
        model, rows, rollout, found if isinstance(found, Judged) else Judged(found), spec, reference
    )
    each = spec.model_copy(update={"minibatch": max(1, spec.minibatch // len(positions_OB))})
    first = np.arange(len(positions_OB))[:, None] * positions_OB.shape[1]
    steps = [(first + some).ravel() for some in minibatches(positions_OB.shape[1], each, generators[0])]
    done = descend(adapter, moments, steps, SideBySide(loss, parts), spec.train, spec.lr)
    measures = dict(zip(MEASURES, loss.measures.mean(0).tolist(), strict=True))
    return Stepped(done.adapter, done.moments, {**measures, "grad_norm": done.grad_norm}, len(steps))
