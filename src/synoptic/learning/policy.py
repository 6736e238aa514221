"""A classifier as a policy: the image is the state, a class the action, and a right answer earns a reward of one.

The encoder answers an image always in the same way, so a group of answers would be G times the same and teach nothing.
The latent is therefore shaken before it is normalised; the encoder itself runs once.

Legend: K clients, B rows, C classes, E joint dimension, G answers in a group, n examples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.algebra import stacking
from synoptic.adapters.stack import expand, leaves, stack_of
from synoptic.core import Section
from synoptic.learning.batches import Batch
from synoptic.learning.classifier import ClassificationLoss, Tensors
from synoptic.learning.objectives.grpo import (
    categorical_kl,
    clipped_surrogate,
    entropy,
    group_advantages,
    group_mean,
    is_clipped,
    k3,
    mixture,
    settled,
    zero_variance,
)

MEASURES = ("reward", "kl", "entropy", "zero_variance", "clip_fraction")
"""What `PolicyLoss.measures` tells, in this order."""


class PolicySpec(Section):
    """How answers are drawn and judged."""

    group: int = Field(3, ge=2, description="answers drawn for each image (G)")
    noise: float = Field(0.23, ge=0, description="length of the noise relative to the latent's")
    sigma: float | None = Field(None, ge=0, description="standard deviation of the noise instead, in latent units")
    action: Literal["argmax", "sample"] = Field("argmax", description="how a shaken latent answers")
    clip: float = Field(0.2, gt=0, lt=1, description="bound on the probability ratio")
    beta: float = Field(0.5, ge=0, description="weight of the divergence from the reference")
    old: Literal["batch", "epoch"] = Field("batch", description="when the old policy is taken; batch: clip is idle")
    policy_gradient: Literal["sampled", "exact"] = Field("sampled", description="exact: all classes, no noise")
    reference_mix: float = Field(0.5, ge=0, le=1, description="share of the earlier model in the reference")
    reference: Literal["parameters", "probabilities"] = Field(
        "parameters", description="what is mixed: the updates, or the answers' probabilities"
    )

    def deviation(self, latents_KBE: Tensor) -> Tensor:
        """Standard deviation of the noise for each row ``[K, B, 1]``."""
        if self.sigma is not None:
            return torch.full_like(latents_KBE[..., :1], self.sigma)
        length: Tensor = torch.linalg.vector_norm(latents_KBE, dim=-1, keepdim=True)
        return length * (self.noise / math.sqrt(latents_KBE.shape[-1]))


class Table:
    """Log-probabilities of one policy for some examples, computed once.

    Args:
        positions: the examples, ascending.
        log_p_nC: their log-probabilities.
    """

    def __init__(self, positions: NDArray[np.int64], log_p_nC: Tensor) -> None:
        self._place = np.full(int(positions.max(initial=-1)) + 1, -1)
        self._place[positions] = np.arange(len(positions))
        self._log_p = log_p_nC

    def __getitem__(self, positions_KB: NDArray[np.int64]) -> Tensor:
        """``[K, B, C]``."""
        return self._log_p[torch.from_numpy(self._place[positions_KB])]


def hybrid_reference(
    problem: ClassificationLoss, positions: NDArray[np.int64], anchor: TensorDict, current: TensorDict, spec: PolicySpec
) -> Table:
    """The reference policy for these examples: ``reference_mix`` of an earlier model and the rest of the current one.

    Mixing parameters means the mean of the updates themselves (LoRA by its product, exactly), not of their factors.
    """

    def answers(one: TensorDict) -> Tensor:
        return problem.log_probabilities(leaves(expand(one, 1)), positions)[0]

    share = spec.reference_mix
    if spec.reference == "probabilities":
        return Table(positions, mixture(answers(anchor), answers(current), share))
    return Table(positions, answers(stacking(stack_of([anchor, current]), torch.tensor([share, 1 - share]))))


class PolicyLoss:
    """`synoptic.learning.fit.Loss`: clipped policy gradient and divergence from a reference policy.

    Args:
        problem: images, candidates and labels.
        spec: how answers are drawn and judged.
        reference: what the policy is held to.
        streams: for each client of the cohort, where its noise comes from.
        epoch_steps: for each client, its steps in one pass over its data.
        supervised: climb the log-probability of the label instead of the surrogate; the divergence stays the same.
    """

    def __init__(
        self, problem: ClassificationLoss, spec: PolicySpec, reference: Table, streams: Sequence[torch.Generator],
        epoch_steps: Sequence[int], supervised: bool = False,
    ) -> None:  # fmt: skip
        self._problem = problem
        self._spec = spec
        self._reference = reference
        self._streams = streams
        self._epoch_steps = epoch_steps
        self._supervised = supervised
        self._step = 0
        self._snapshot: dict[str, Tensor] = {}
        self._sums = torch.zeros(len(streams), len(MEASURES))
        self._rows = torch.zeros(len(streams))

    @property
    def measures(self) -> Tensor:
        """Means over all rows so far ``[K, 5]``, in the order of `MEASURES`."""
        return self._sums / self._rows.clamp(min=1)[:, None]

    def __call__(self, worn: Tensors, batch: Batch) -> Tensor:
        """``beta * KL - surrogate`` of every row, ``[K, B]``."""
        spec = self._spec
        latents, texts = self._problem.pair(worn, batch.rows)
        logits = self._problem.classifier.similarities(latents, texts)
        log_p, labels = logits.log_softmax(-1), self._problem.targets(batch.rows)
        reference = settled(self._reference[batch.rows], log_p)
        log_old = self._old(worn, batch, log_p)
        with torch.no_grad():
            actions, weight = self._answers(latents, texts, log_old, batch)
            rewards = (actions == labels[..., None]).float()
            advantages = group_advantages(rewards, weight)
        chosen, chosen_old = log_p.gather(-1, actions), log_old.gather(-1, actions)
        if weight is None:
            kl = group_mean(k3(chosen, reference.gather(-1, actions)))
        else:
            kl = categorical_kl(log_p, reference)
        gain = group_mean(clipped_surrogate(chosen, chosen_old, advantages, spec.clip), weight)
        if self._supervised:
            gain = log_p.gather(-1, labels[..., None]).squeeze(-1)
        clipped = is_clipped(chosen, chosen_old, advantages, spec.clip).float()
        silent = zero_variance(rewards, weight).float()
        self._note(batch, group_mean(rewards, weight), kl, entropy(log_p), silent, group_mean(clipped, weight))
        return spec.beta * kl - gain

    def _answers(self, latents: Tensor, texts: Tensor, log_old: Tensor, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Actions ``[K, B, G]``, and how much each counts when they are all classes instead of a sample."""
        if self._spec.policy_gradient == "exact":
            return torch.arange(log_old.shape[-1]).expand_as(log_old), log_old.exp()
        clients, width, dim = latents.shape
        noise = self._draw(batch, (self._spec.group, dim)) * self._spec.deviation(latents)[..., None]
        shaken = (latents[:, :, None] + noise).view(clients, -1, dim)
        logits = self._problem.classifier.similarities(shaken, texts).view(clients, width, self._spec.group, -1)
        if self._spec.action == "sample":
            # The largest of logits with Gumbel noise is a draw from their softmax.
            uniform = self._draw(batch, tuple(logits.shape[2:]), torch.rand)
            logits = logits - torch.log(-torch.log(uniform.clamp(1e-7, 1 - 1e-7)))
        return logits.argmax(-1), None

    def _draw(self, batch: Batch, shape: tuple[int, ...], draw: Callable[..., Tensor] = torch.randn) -> Tensor:
        """``[K, B, *shape]``; padding draws nothing, so what a client draws does not depend on its stack."""
        drawn = torch.zeros(*batch.rows.shape, *shape)
        for place, client in enumerate(batch.clients):
            real = int(batch.weight[place].sum())
            drawn[place, :real] = draw(real, *shape, generator=self._streams[client])
        return drawn

    @torch.no_grad()
    def _old(self, worn: Tensors, batch: Batch, log_p: Tensor) -> Tensor:
        """The old policy's log-probabilities: this batch's own, or those of the model that began the epoch."""
        if self._spec.old == "batch":
            return log_p.detach()
        begins = torch.tensor([self._step % self._epoch_steps[client] == 0 for client in batch.clients])
        self._step += 1
        for name, tensor in worn.items():
            kept = self._snapshot.get(name, tensor)[: len(tensor)]
            self._snapshot[name] = torch.where(begins.view(-1, *[1] * (tensor.ndim - 1)), tensor, kept).detach()
        return self._problem.classifier.similarities(*self._problem.pair(self._snapshot, batch.rows)).log_softmax(-1)

    def _note(self, batch: Batch, *measures_KB: Tensor) -> None:
        sums = torch.stack([(values.detach() * batch.weight).sum(1) for values in measures_KB], dim=1)
        places = torch.from_numpy(batch.clients)
        self._sums.index_add_(0, places, sums)
        self._rows.index_add_(0, places, batch.weight.sum(1))
