"""Per-FedAvg (Fallah, Mokhtari & Ozdaglar 2020, Algorithm 1, first-order): an adapter that is good after tuning.

Clients minimise the loss that they would have after one more step, ``F_k(w) = f_k(w - alpha grad f_k(w))``; the server
averages. After the last round everybody tunes, which is what the adapter was trained for.
"""

from __future__ import annotations

from pydantic import Field
from tensordict import TensorDict

from synoptic.core.seeds import stream_seed
from synoptic.federation.message import add_work
from synoptic.learning.batches import plan, zip_steps
from synoptic.learning.objectives.ahead import after_a_step
from synoptic.methods.base import Cohort, Replies, task
from synoptic.methods.finetune import FineTune


class PerFedAvg(FineTune):
    """FedAvg of meta-steps, and one tuning; with ``method.alpha=0`` it is FedAvg and fine-tuning."""

    class Settings(FineTune.Settings):
        """As FedAvg and fine-tuning, and how far clients look ahead."""

        alpha: float = Field(0.1, ge=0, description="size of the plain gradient step after which the loss counts")

    summary = "an adapter that is good after tuning (Per-FedAvg, first-order, Fallah et al. 2020)"

    @task
    def train(self, cohort: Cohort, adapter: TensorDict) -> Replies:
        """Local training on the loss after one step on another batch."""
        alpha, bench = self.settings.alpha, cohort.bench
        loss = None
        if alpha:
            others = [plan(rows, bench.train, stream_seed(bench.seed, "ahead"), cohort.round, client)
                      for client, rows in zip(cohort.clients, cohort.positions, strict=True)]  # fmt: skip
            loss = after_a_step(bench.problem.loss(), zip_steps(others), alpha)
            # A step that is only looked at costs as much as one that is taken.
            seen = [len(rows) for steps in others for rows in steps]
            add_work(cohort.work, {"steps": float(len(seen)), "examples": float(sum(seen))})
        fitted = cohort.fit(adapter, loss)
        return cohort.reply(adapter=fitted.stack, examples=cohort.examples, loss=fitted.loss, **cohort.rows)
