"""Local: every client tunes an adapter of its own and never sends it. The other floor: what working alone gives."""

from __future__ import annotations

from tensordict import TensorDict

from synoptic.federation.kinds import ask_kinds, mean_loss
from synoptic.methods.base import Cohort, Method, Replies, Server, task


class Local(Method):
    """A personal adapter for each client; only the loss is reported."""

    summary = "every client alone, with an adapter of its own"
    has_shared = False
    has_personal = True
    several_tasks = True

    def round(self, server: Server, t: int) -> None:
        """Each client trains on from where it was; nothing but losses travels up."""
        server.log["loss"] = mean_loss(ask_kinds(server, "train"))

    @task
    def train(self, cohort: Cohort) -> Replies:
        """Go on from the own adapter; everybody's first is the same, made from the recipe and never sent."""
        fitted = cohort.fit(cohort.personal.adapter("adapter", cohort.bench.new_adapter(cohort.clients)))
        cohort.personal["adapter"] = fitted.stack
        return cohort.reply(examples=cohort.examples, loss=fitted.loss)

    def personal_model(self, cohort: Cohort, shared: TensorDict | None) -> TensorDict | None:
        """Each client's own adapter."""
        return cohort.personal.adapter("adapter", cohort.bench.new_adapter(cohort.clients))
