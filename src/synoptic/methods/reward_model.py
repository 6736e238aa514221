"""Reward models: every client learns from its own pairs of answers which one is better (Bradley & Terry 1952).

A reward model gives (picture, question, text) a number. It is trained so that preferred answers get higher ones than
rejected answers; after the last round every client finds out, on pairs that it held out, how its scores lie and how
often they order a pair rightly. The second and the number of pairs are all that leaves it. ``method.federate=average``
averages reward models as FedAvg does instead.

Legend: K clients.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from tensordict import TensorDict

from synoptic.adapters.algebra import mean
from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import expand, leaves
from synoptic.core import SynopticError
from synoptic.federation.message import add_work
from synoptic.learning.objectives.preference import Calibration, calibration
from synoptic.learning.preferring import Preferring
from synoptic.learning.rewarding import RewardSpec
from synoptic.methods.base import Cohort, Method, Replies, Server, task
from synoptic.methods.held_out import Training

CALIBRATION = "calibration"
"""What a client keeps of `synoptic.learning.objectives.preference.Calibration`: its four numbers, in order."""


class RewardModel(Method):
    """A scalar head for each client, with LoRA below it where the recipe asks for it."""

    class Settings(RewardSpec):
        """What a reward model is, and whether clients share one."""

        federate: Literal["none", "average"] = Field("none", description="keep reward models, or average them (FedAvg)")
        held_out: float = Field(
            0.1, gt=0, lt=1, description="share of training pairs to calibrate on, for clients without validation pairs"
        )

    summary = "every client learns from its own pairs which answer is better (Bradley-Terry)"
    adapter = answerer_adapter = AdapterSpec()
    defaults: ClassVar[dict[str, Any]] = {
        "data.source": "questions", "data.questions.rejected": True, "rounds": 3, "train.epochs": 2, "train.lr": 3e-3,
    }  # fmt: skip

    @property
    def reward(self) -> RewardSpec:  # type: ignore[override]
        """What reward models are made of."""
        spec: RewardSpec = self.settings
        return spec

    @property
    def has_shared(self) -> bool:  # type: ignore[override]
        """Whether there is one reward model for everybody."""
        return bool(self.settings.federate == "average")

    @property
    def has_personal(self) -> bool:  # type: ignore[override]
        """Whether every client has its own."""
        return not self.has_shared

    @property
    def personal(self) -> tuple[str, ...]:  # type: ignore[override]
        """What may never be in a reply."""
        return () if self.has_shared else ("reward/*", "*/lora/*", "*/head/*", "*/prompt/*")

    # -- the server -------------------------------------------------------------------------------------------------

    def begin(self, server: Server) -> None:
        """Start from a model that gives everything the same score."""
        if self.has_shared:
            server.state.adapter = server.new_adapter()

    def round(self, server: Server, t: int) -> None:
        """Everybody trains on; the models are averaged where that is asked for."""
        replies = server.ask("train", **self._sent(server))
        if self.has_shared:
            server.state.adapter = mean(replies.adapter, replies.examples)
        server.log["loss"] = float((replies.loss * replies.examples).sum() / replies.examples.sum())

    def end(self, server: Server) -> None:
        """Everybody calibrates; ``state.accuracy`` and ``state.pairs`` are all that the server knows of the models."""
        replies = server.ask("calibrate", to=range(server.clients), **self._sent(server))
        accuracy, pairs = (torch.zeros(server.clients) for _ in range(2))
        accuracy[replies.clients], pairs[replies.clients] = replies.accuracy, replies.pairs
        server.state.accuracy, server.state.pairs = accuracy, pairs
        server.log["held_out"] = float((accuracy * pairs).sum() / pairs.sum())

    def _sent(self, server: Server) -> dict[str, Any]:
        return {"adapter": server.state.adapter} if self.has_shared else {}

    # -- the clients ------------------------------------------------------------------------------------------------

    @task
    def train(self, cohort: Cohort, adapter: TensorDict | None = None) -> Replies:
        """Go on from the own model, or from the one that the server sends."""
        part = Training(cohort, self.settings.held_out)
        fitted = part.fit(self._start(cohort, adapter))
        add_work(cohort.work, part.work)
        told: dict[str, Any] = {"examples": part.examples, "loss": fitted.loss}
        if adapter is not None:
            return cohort.reply(adapter=fitted.stack, **told)
        cohort.personal["adapter"] = fitted.stack
        return cohort.reply(**told)

    @task
    def calibrate(self, cohort: Cohort, adapter: TensorDict | None = None) -> Replies:
        """Mean and deviation of scores stay here; how many held-out pairs are in the right order is told."""
        stack = self._start(cohort, adapter)
        held = Training(cohort, self.settings.held_out).held
        found = [calibration_of(cohort, stack, place, rows) for place, rows in enumerate(held)]
        kept = [torch.stack([one.mean, one.deviation, one.accuracy, one.pairs]) for one in found]
        cohort.personal[CALIBRATION] = torch.stack(kept)
        told = {"accuracy": [one.accuracy for one in found], "pairs": [one.pairs for one in found]}
        return cohort.reply(**{name: torch.stack(each) for name, each in told.items()})

    def personal_model(self, cohort: Cohort, shared: TensorDict | None) -> TensorDict | None:
        """Each client's own reward model."""
        return None if self.has_shared else self._start(cohort, None)

    def _start(self, cohort: Cohort, adapter: TensorDict | None) -> TensorDict:
        if adapter is not None:
            return expand(adapter, len(cohort))
        return cohort.personal.adapter("adapter", cohort.bench.new_adapter())


def calibration_of(cohort: Cohort, stack: TensorDict, place: int, rows: NDArray[np.int64]) -> Calibration:
    """One client's calibration on rows of the training table that it was not trained on.

    Args:
        cohort: the clients.
        stack: their reward models ``[K]``.
        place: which of them.
        rows: its held-out pairs ``[n]``.

    Raises:
        SynopticError: no held-out pair, or scores that are not finite.
    """
    if not len(rows):
        raise SynopticError(f"client {cohort.clients[place]} can hold out no pair to calibrate on: its "
                            f"{len(cohort.positions[place])} are about one picture and none is for validation",
                            "give it pairs about a second picture")  # fmt: skip
    problem = cohort.bench.problem
    assert isinstance(problem, Preferring)
    preferred, rejected = problem.train_scorer.pairs(leaves(stack[place : place + 1]), rows)
    return calibration(preferred[0], rejected[0])
