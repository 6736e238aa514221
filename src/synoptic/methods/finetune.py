"""FedAvg, and at the end everybody tunes the shared adapter to its own data: what plain personalisation gives.

The baseline that any personalised method has to be better than, at the same number of passes.
"""

from __future__ import annotations

from pydantic import Field
from tensordict import TensorDict

from synoptic.federation.kinds import ask_kinds
from synoptic.learning.spec import TrainSpec
from synoptic.methods.base import Cohort, Replies, Server, task
from synoptic.methods.fedavg import FedAvg

TUNED = "tuned"


class FineTune(FedAvg):
    """FedAvg's rounds; after the last one a copy for each client, which stays there."""

    class Settings(FedAvg.Settings):
        """As FedAvg, and how long everybody tunes."""

        tune: int = Field(1, ge=0, description="passes over the client's data after the last round; 0 is FedAvg")

    summary = "FedAvg, and at the end everybody tunes the adapter to its own data"

    @property
    def has_personal(self) -> bool:  # type: ignore[override]
        """Whether anything is tuned."""
        return bool(self.settings.tune)

    def end(self, server: Server) -> None:
        """Everybody tunes, once."""
        if self.settings.tune:
            ask_kinds(server, "finetune", to=range(server.clients), adapter=server.state.adapter)

    @task
    def finetune(self, cohort: Cohort, adapter: TensorDict) -> Replies:
        """Local training from the shared adapter; only the loss is told."""
        fitted = cohort.fit(adapter, train=passes(cohort.bench.train, self.settings.tune))
        cohort.personal[TUNED] = fitted.stack
        return cohort.reply(examples=cohort.examples, loss=fitted.loss)

    def personal_model(self, cohort: Cohort, shared: TensorDict | None) -> TensorDict | None:
        """Each client's tuned copy; before the end it is the shared adapter."""
        assert shared is not None
        return cohort.personal.adapter(TUNED, shared)


def passes(train: TrainSpec, epochs: int) -> TrainSpec:
    """The recipe's training for so many passes, however long a round is."""
    return train.model_copy(update={"epochs": epochs, "steps": None})
