"""Ditto (Li, Hu, Beirami & Smith 2021, Algorithm 1): personal models that are held near the shared one.

The shared adapter w is FedAvg's and knows nothing of the personal ones. Beside it every client trains a model v_k of
its own, on ``F_k(v_k) + mu / 2 * ||v_k - w||^2`` with the w of the round, and keeps it.
"""

from __future__ import annotations

from pydantic import Field
from tensordict import TensorDict

from synoptic.adapters.stack import expand
from synoptic.learning.objectives.proximal import proximal
from synoptic.methods.base import Cohort, Replies, task
from synoptic.methods.fedavg import FedAvg

MODEL = "model"


class Ditto(FedAvg):
    """FedAvg, and a personal model for each client; with ``method.mu=0`` it is Local."""

    class Settings(FedAvg.Settings):
        """As FedAvg, and how strongly personal models are held."""

        mu: float = Field(1.0, ge=0, description="weight of the personal model's distance from the shared one")

    summary = "personal models held near the shared one (Ditto, Li et al. 2021)"
    has_personal = True

    @task
    def train(self, cohort: Cohort, adapter: TensorDict) -> Replies:
        """Train the shared adapter, which leaves, and the personal one, which stays; both on the same batches."""
        fitted = cohort.fit(adapter)
        own = cohort.fit(self._own(cohort), penalty=proximal(adapter, self.settings.mu))
        reply = cohort.reply(adapter=fitted.stack, examples=cohort.examples, loss=fitted.loss, **cohort.rows)
        cohort.personal[MODEL] = own.stack
        return reply

    def personal_model(self, cohort: Cohort, shared: TensorDict | None) -> TensorDict | None:
        """Each client's own model."""
        return self._own(cohort)

    def newcomer(self, cohort: Cohort, shared: TensorDict | None) -> tuple[TensorDict, list[str]] | None:
        """A copy of everybody's: the model that is nearest to it."""
        return None if shared is None else (expand(shared, len(cohort)), ["*"])

    def _own(self, cohort: Cohort) -> TensorDict:
        """Personal models ``[K]``; everybody's first is the same, as `synoptic.methods.local` has it."""
        return cohort.personal.adapter(MODEL, cohort.bench.new_adapter(cohort.clients))
