"""A generative model as a policy: GRPO on groups of its own answers, judged by anybody.

The answers to one question are a group. Each is judged, by a reward model, a rule or clients far away; what an answer
has more than its group's mean is its advantage, for each of its tokens. The reference is the base itself, which is the
same model with the adapter off, or with another one, so no second model is held.

Legend: K clients, B prompts of each, N = K * B (client-major), G answers of each, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.stack import expand, leaves
from synoptic.core import Section, SynopticError
from synoptic.learning.answer_rows import AnswerRows, Tensors
from synoptic.learning.batches import Batch
from synoptic.learning.descent import descend
from synoptic.learning.objectives.grpo import (
    clipped_surrogate,
    group_advantages,
    group_mean,
    is_clipped,
    k3,
    settled,
    zero_variance,
)
from synoptic.learning.rollouts import Rollout, log_probabilities, roll_out
from synoptic.learning.spec import TrainSpec
from synoptic.models.answerer import Answerer
from synoptic.models.answerer.decode import Decoding

MEASURES = ("reward", "kl", "entropy", "length", "clip_fraction", "zero_variance")
"""What `AnswerPolicyLoss.measures` tells, in this order."""


class AnswerPolicySpec(Section):
    """How answers are drawn and learned from."""

    group: int = Field(8, ge=2, description="answers drawn to each question (G)")
    temperature: float = Field(1.0, gt=0, description="of the draw; old, new and reference policy are at the same")
    top_p: float = Field(1.0, gt=0, le=1, description="draw from the likeliest tokens of this probability only")
    tokens: int = Field(32, ge=1, description="longest answer, the end token included")
    clip: float = Field(0.2, gt=0, lt=1, description="bound on the probability ratio of a token")
    beta: float = Field(0.04, ge=0, description="weight of the divergence from the base")
    per: Literal["answer", "token"] = Field(
        "answer", description="what counts the same: every answer, or every token of a batch"
    )
    updates: int = Field(1, ge=1, description="passes over a rollout")
    minibatch: int = Field(32, ge=1, description="questions in one optimiser step")
    lr: float = Field(1e-3, gt=0, description="learning rate of AdamW, whose state goes on from step to step")
    weight_decay: float = Field(0.0, ge=0, description="decoupled")
    betas: tuple[float, float] = Field((0.9, 0.999), description="for AdamW")
    eps: float = Field(1e-8, gt=0, description="for AdamW")
    clip_norm: float | None = Field(1.0, gt=0, description="bound on the gradient norm")

    @property
    def decoding(self) -> Decoding:
        """How a rollout is drawn."""
        return Decoding(self.group, self.tokens, self.temperature, self.top_p)

    @property
    def train(self) -> TrainSpec:
        """The optimiser."""
        same = ("lr", "weight_decay", "betas", "eps", "clip_norm")
        return TrainSpec(optimizer="adamw", **{name: getattr(self, name) for name in same})


@dataclass(frozen=True, eq=False)
class Judged:
    """What a rollout's answers are worth.

    Attributes:
        reward: ``[N, G]``.
        advantage: ``[N, G]``, where they are not simply the rewards' own within each group.
    """

    reward: Tensor
    advantage: Tensor | None = None


Judge = Callable[[NDArray[np.int64], list[list[str]]], Tensor | Judged]
"""(rows of the table ``[N]``, N lists of G texts) -> rewards ``[N, G]``, with advantages if they are not their own."""


class AnswerPolicyLoss:
    """`synoptic.learning.fit.Loss` of a rollout: clipped policy gradient and divergence from the base.

    Shao et al. 2024, eqs. 3-4, token by token; a batch's rows are the rollout's prompts by number.

    Args:
        model: the frozen base.
        rows: the table's rows.
        rollout: the answers; with K clients, client-major.
        judged: what they are worth.
        spec: clip, divergence, what counts the same.
        reference: a stack with K = 1 that the policy is held to; nothing is the base itself.

    Raises:
        SynopticError: rewards of another shape, or that are not finite.
    """

    def __init__(
        self, model: Answerer, rows: AnswerRows, rollout: Rollout, judged: Judged, spec: AnswerPolicySpec,
        reference: Tensors | None = None,
    ) -> None:  # fmt: skip
        self._model = model
        self._rows = rows
        self._rollout = rollout
        self._spec = spec
        self._reward = checked(judged.reward, rollout, "reward")
        given = judged.advantage
        self._advantage = group_advantages(self._reward) if given is None else checked(given, rollout, "advantage")
        self._reference = reference_log_probabilities(model, rows, rollout, spec.minibatch, reference)
        self._sums: dict[int, Tensor] = {}

    def __call__(self, worn: Tensors, batch: Batch) -> Tensor:
        """``beta * KL - surrogate`` of every prompt, ``[K, B]``."""
        spec, chosen = self._spec, batch.rows.ravel()
        places = torch.from_numpy(chosen)
        log_p = log_probabilities(self._model, worn, self._rows, self._rollout, chosen)
        log_old, counted, reference, advantage = (
            some[places].to(log_p.device)
            for some in (self._rollout.log_old, self._rollout.counted, self._reference, self._advantage[..., None])
        )
        kl = k3(log_p, settled(reference, log_p))
        value = spec.beta * kl - clipped_surrogate(log_p, log_old, advantage, spec.clip)
        clipped = is_clipped(log_p, log_old, advantage, spec.clip).float()
        self._note(batch, places, *(per_answer(some, counted) for some in (kl, -log_old, clipped)))
        if spec.per == "answer":
            return per_answer(value, counted).view(batch.rows.shape)
        total = torch.where(counted, value, 0.0).flatten(1).sum(1).view(batch.rows.shape)
        tokens = counted.flatten(1).sum(1).view(batch.rows.shape).float().cpu()
        return total / batch.mean(tokens)[:, None].to(total.device)

    @property
    def measures(self) -> Tensor:
        """Means over all prompts so far ``[K, 6]``, in the order of `MEASURES`.

        Each is a mean over an answer's tokens, then over the group: the reward; k3's estimate of the divergence from
        the base, and how much of it the clip has taken away, over all updates; the entropy of the policy that drew, as
        the mean of ``-log p`` of what it drew, in nats. The length is in tokens; the last one is the share of groups
        whose answers all have the same reward.
        """
        return torch.stack([self._sums[client][1:] / self._sums[client][0] for client in sorted(self._sums)])

    @torch.no_grad()
    def _note(self, batch: Batch, places: Tensor, kl: Tensor, entropy: Tensor, clipped: Tensor) -> None:
        reward, length = self._reward[places], self._rollout.length[places].float()
        one, silent = torch.ones_like(reward[:, 0]), zero_variance(reward).float()
        found = [one, reward.mean(1), kl.cpu(), entropy.cpu(), length.mean(1), clipped.cpu(), silent]
        sums = (torch.stack(found, 1).view(*batch.rows.shape, -1) * batch.weight[..., None]).sum(1)
        for place, client in enumerate(batch.clients.tolist()):
            self._sums[client] = self._sums.get(client, 0) + sums[place]


def per_answer(values_NGT: Tensor, counted_NGT: Tensor) -> Tensor:
    """Mean over each answer's tokens, then over its group: ``[N]``."""
    return group_mean(group_mean(values_NGT, counted_NGT.float()))


@torch.no_grad()
def reference_log_probabilities(
    model: Answerer, rows: AnswerRows, rollout: Rollout, minibatch: int, reference: Tensors | None = None
) -> Tensor:
    """What the base thinks of a rollout's tokens ``[N, G, T]``, wearing nothing or one ``reference``."""
    parts = np.split(np.arange(len(rollout)), range(minibatch, len(rollout), minibatch))
    return torch.cat([log_probabilities(model, reference or {}, rows, rollout, part).cpu() for part in parts])


def checked(values_NG: Tensor, rollout: Rollout, what: str) -> Tensor:
    """The same values in float32.

    Raises:
        SynopticError: another shape, or not finite.
    """
    expected = tuple(rollout.ids.shape[:2])
    if tuple(values_NG.shape) != expected:
        raise SynopticError(f"the {what}s of a rollout came as {tuple(values_NG.shape)} and not as {expected}",
                            "give one for each answer to each question")  # fmt: skip
    if not bool(torch.isfinite(values_NG).all()):
        raise SynopticError(f"a {what} of the rollout is not a finite number", "leave out whoever gave it, or the step")
    return values_NG.detach().float().cpu()


class Stepped(NamedTuple):
    """The adapter after a step, the optimiser's moments for the next one, and what was measured, by `MEASURES`.

    ``steps`` counts those of the optimiser: every pass over a rollout makes one for each minibatch.
    """

    adapter: TensorDict
    moments: TensorDict
    measures: dict[str, float]
    steps: int


def step(
    model: Answerer, adapter: TensorDict, rows: AnswerRows, positions: NDArray[np.int64], reward: Judge,
    spec: AnswerPolicySpec, moments: TensorDict, generator: torch.Generator, lr: float | None = None,
    reference: Tensors | None = None,
) -> Stepped:  # fmt: skip
    """One step of GRPO on the server: draw, have it judged, learn.

    A pure function: whatever goes wrong, in ``reward`` above all, nothing has been changed.

    Args:
        model: the frozen base.
        adapter: the policy's (batch size ``[]``).
        rows: the table's rows.
        positions: which of them are asked ``[N]``.
        reward: judges the answers.
        spec: how to draw and learn.
        moments: those of the last step; `synoptic.learning.optim.no_moments` at the first.
        generator: for this step alone, so that it does not depend on earlier ones.
        lr: another learning rate than ``spec``'s, where a schedule says so.
        reference: what the policy is held to (K = 1); nothing is the base itself.
    """
    rollout = roll_out(model, leaves(expand(adapter, 1)), rows, positions[None], spec.decoding, [generator])
    found = reward(rollout.positions, rollout.texts)
    judged = found if isinstance(found, Judged) else Judged(found)
    loss = AnswerPolicyLoss(model, rows, rollout, judged, spec, reference)
    steps = minibatches(len(rollout), spec, generator)
    done = descend(adapter, moments, steps, loss, spec.train, spec.lr if lr is None else lr)
    measures = dict(zip(MEASURES, loss.measures[0].tolist(), strict=True))
    return Stepped(done.adapter, done.moments, {**measures, "grad_norm": done.grad_norm}, len(steps))


def minibatches(count: int, spec: AnswerPolicySpec, generator: torch.Generator) -> list[NDArray[np.int64]]:
    """The prompts of each optimiser step: every pass takes all of them once, in an order of its own."""
    steps: list[NDArray[np.int64]] = []
    for _ in range(spec.updates):
        order = torch.randperm(count, generator=generator).numpy() if count > spec.minibatch else np.arange(count)
        steps += np.split(order, range(spec.minibatch, count, spec.minibatch))
    return steps
