"""FedProx (Li et al. 2020, eq. 2): FedAvg whose clients are held near the adapter they started from."""

from __future__ import annotations

from pydantic import Field
from tensordict import TensorDict

from synoptic.learning.objectives.proximal import proximal
from synoptic.methods.base import Cohort, Replies, task
from synoptic.methods.fedavg import FedAvg


class FedProx(FedAvg):
    """``F_k(w) + mu / 2 * ||w - w_t||^2``; with ``method.mu=0`` it is FedAvg."""

    class Settings(FedAvg.Settings):
        """As FedAvg, and the proximal weight."""

        mu: float = Field(0.01, ge=0, description="weight of the proximal term")

    summary = "FedAvg with a proximal term that limits client drift (Li et al. 2020)"

    @task
    def train(self, cohort: Cohort, adapter: TensorDict) -> Replies:
        """Local training with the proximal term."""
        fitted = cohort.fit(adapter, penalty=proximal(adapter, self.settings.mu))
        return cohort.reply(adapter=fitted.stack, examples=cohort.examples, loss=fitted.loss, **cohort.rows)
