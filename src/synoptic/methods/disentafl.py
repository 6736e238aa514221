"""DisentAFL's term, as TAP's code has it for comparison (arXiv 2509.26524): features of different tasks kept apart.

FedAvg block by block, whose clients add ``weight`` times the mean squared cosine between token means of different
(modality, task) pairs to their loss. DisentAFL itself is another network; only its term is here.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from tensordict import TensorDict

from synoptic.methods.base import Cohort, Replies, task
from synoptic.methods.finetune import FineTune


class DisentAFL(FineTune):
    """FedAvg with an orthogonality term, and tuning at the end if wanted."""

    class Settings(FineTune.Settings):
        """As FedAvg and fine-tuning, and the weight of the term."""

        tune: int = Field(0, ge=0, description="passes over the client's data after the last round")
        weight: float = Field(0.5, ge=0, description="of the mean squared cosine between features of different tasks")

    summary = "FedAvg of blocks, features of different tasks kept apart (DisentAFL's term)"
    tasks_only = True
    defaults: ClassVar = {"data.source": "tasks"}

    @task
    def train(self, cohort: Cohort, adapter: TensorDict) -> Replies:
        """Local training with the term; a client with one task of one modality has nothing to keep apart."""
        tasking = cohort.bench.tasking
        assert tasking is not None, "refused by the recipe"
        weight = self.settings.weight
        fitted = cohort.fit(adapter, penalty=tasking.apart(weight) if weight else None)
        return cohort.reply(adapter=fitted.stack, examples=cohort.examples, loss=fitted.loss, **cohort.rows)
