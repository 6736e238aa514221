"""FedAvg over adapters (McMahan et al. 2017, Algorithm 1; on LoRA also called FedIT or FedLoRA).

In each round every client of the cohort trains a copy of the shared adapter on its own data; the server replaces the
shared adapter by the mean of the copies, weighted by examples. ``method.mean=product`` averages the updates B A
themselves instead of A and B one by one (FlexLoRA, Bai et al. 2024).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from tensordict import TensorDict

from synoptic.adapters.algebra import mean, product_mean
from synoptic.federation.kinds import ask_kinds, averaged, mean_loss
from synoptic.methods.base import Cohort, Method, Replies, Section, Server, task

MEANS = {"factor": mean, "product": product_mean}


class FedAvg(Method):
    """One shared adapter for everybody."""

    class Settings(Section):
        """How adapters are averaged."""

        mean: Literal["factor", "product"] = Field("factor", description="average A and B, or the products B A")

    summary = "one shared adapter, averaged every round (McMahan et al. 2017)"
    several_tasks = True

    def begin(self, server: Server) -> None:
        """Start from an adapter whose update is zero."""
        server.state.adapter = server.new_adapter()

    def round(self, server: Server, t: int) -> None:
        """Broadcast, train, average; clients with different tasks have, train and average the blocks of these."""
        parts = ask_kinds(server, "train", adapter=server.state.adapter)
        server.state.adapter = averaged(server, server.state.adapter, parts, MEANS[self.settings.mean])
        server.log["loss"] = mean_loss(parts)

    @task
    def train(self, cohort: Cohort, adapter: TensorDict) -> Replies:
        """Local training from the shared adapter."""
        fitted = cohort.fit(adapter)
        return cohort.reply(adapter=fitted.stack, examples=cohort.examples, loss=fitted.loss, **cohort.rows)
