"""FedAvg over both towers whose clients also take the optimiser steps that FedDTL's server would take.

A control, not a method of its own: FedDTL's server makes many cheap steps, and with few shots its clients make few.
Whatever remains between the two at equal steps is not a matter of steps.
"""

from __future__ import annotations

from math import ceil
from typing import ClassVar

import torch
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.spec import AdapterSpec
from synoptic.federation.message import Each
from synoptic.methods.base import Cohort, Replies, Server, task
from synoptic.methods.fedavg import MEANS, FedAvg
from synoptic.methods.feddtl import BOTH, FedDTL
from synoptic.methods.feddtl_settings import Schedule


class StepMatched(FedAvg):
    """The schedule of FedDTL, the algorithm of FedAvg."""

    class Settings(Schedule, FedAvg.Settings):
        """FedDTL's schedule, under the same names."""

    summary = "FedAvg on both towers with as many optimiser steps as FedDTL takes: a control"
    adapter = AdapterSpec.model_validate(BOTH)
    dual_encoder_only = True
    defaults: ClassVar = FedDTL.defaults

    def begin(self, server: Server) -> None:
        """Start from a zero update, and ask everybody how many examples there are."""
        super().begin(server)
        server.state.examples = server.ask("count", to=range(server.clients)).examples

    @task
    def count(self, cohort: Cohort) -> Replies:
        """Number of examples."""
        return cohort.reply(examples=cohort.examples)

    def round(self, server: Server, t: int) -> None:
        """FedAvg's, with the server's steps shared out among the clients."""
        clients, s = server.sampled, self.settings
        seen = int(server.state.examples[clients].sum())
        steps = s.server.steps or s.server.epochs * ceil(seen / s.server.batch_size)
        extra = torch.tensor([steps // len(clients) + (place < steps % len(clients)) for place in range(len(clients))])
        replies = server.ask("train", adapter=server.state.adapter, extra=Each(extra))
        server.state.adapter = MEANS[s.mean](replies.adapter, replies.examples)
        server.log["loss"] = float((replies.loss * replies.examples).sum() / replies.examples.sum())

    @task
    def train(self, cohort: Cohort, adapter: TensorDict, extra: Tensor | None = None) -> Replies:
        """Local training: the round's epochs, then ``extra`` steps ``[K]``."""
        train, s = cohort.bench.train, self.settings
        second = cohort.round >= s.begins(cohort.bench.rounds)
        epochs = s.second_epochs if second and s.second_epochs else train.epochs
        own = [train.steps or epochs * ceil(len(positions) / train.batch_size) for positions in cohort.positions]
        more = [0] * len(own) if extra is None else extra.tolist()
        specs = [train.model_copy(update={"steps": steps + some}) for steps, some in zip(own, more, strict=True)]
        fitted = cohort.fit(adapter, train=specs)
        return cohort.reply(adapter=fitted.stack, examples=cohort.examples, loss=fitted.loss)
