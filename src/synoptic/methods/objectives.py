"""One policy for sites that prefer different things about the same input: pi(y | x, o), where o is a site.

Of the policy's LoRA some ranks are everybody's and some each site's own (`synoptic.learning.conditioned`). In each step
all objectives answer questions, equally many: a site's, whose reward alone counts then, and nobody's, which is
rewarded as the router says. There is one adapter on the server, and nothing is trained at sites.

Legend: K clients, O = K + 1 objectives, B questions of each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from tensordict import TensorDict

from synoptic.adapters.stack import expand, leaves
from synoptic.core.seeds import generator
from synoptic.federation.bench import Bench
from synoptic.learning.answer_policy import Stepped
from synoptic.learning.conditioned import Parts, narrowed, of_objectives, parts_of, step_each, widened
from synoptic.methods.aligning import Aligning
from synoptic.methods.base import Cohort, Replies, Server, task
from synoptic.methods.evaluation import evaluate_cohort

Ints = NDArray[np.int64]


class PerSite:
    """Whether clients have models of their own: a matter of settings, so never of the class."""

    def __get__(self, method: Conditioned | None, kind: type[Conditioned]) -> bool:
        return method is not None and method.settings.objective is not None


class Conditioned(Aligning):
    """Aligning with objectives."""

    has_personal = PerSite()

    # -- the server -------------------------------------------------------------------------------------------------

    def begin(self, server: Server) -> None:
        """The policy gets ranks for each client; the reference has none."""
        super().begin(server)
        if self.settings.objective is not None:
            plain = server.state.adapter
            own = parts_of(plain, plain, self.settings.own_rank).rank
            server.state.adapter = widened(plain, Parts(server.clients, own), server.bench.seed)

    def stepped(self, server: Server, chosen: Ints, place: int, gone: set[int]) -> Stepped:
        """With objectives the questions are dealt out to them, as far as they go evenly."""
        if self.settings.objective is None:
            return super().stepped(server, chosen, place, gone)
        state, rows, seed = server.state, server.bench.pool_rows, server.bench.seed
        parts = self.parts(server.bench, state.adapter)
        each = max(1, len(chosen) // (parts.objectives + 1))
        dealt_OB = np.resize(chosen, (parts.objectives + 1, each))
        whose = np.repeat(np.arange(parts.objectives + 1), each) - 1
        streams = [generator(seed, "policy", server.round, place, objective) for objective in range(len(dealt_OB))]
        return step_each(rows.model, state.adapter, parts, rows, dealt_OB,
                         lambda positions, texts: self._judged(server, positions, texts, gone, whose),
                         self.settings.policy, state.moments, streams,
                         leaves(expand(state.reference, 1)))  # fmt: skip

    def parts(self, bench: Bench, adapter: TensorDict) -> Parts:
        """How the policy is divided."""
        return parts_of(adapter, bench.new_adapter(), self.settings.own_rank)

    def shared_model(self, server: Server) -> TensorDict | None:
        """What nobody in particular wears."""
        adapter = super().shared_model(server)
        if self.settings.objective is None or adapter is None:
            return adapter
        return narrowed(adapter, self.parts(server.bench, adapter))

    def broadcast(self, server: Server) -> TensorDict | None:
        """The whole policy, of which everybody takes its own part."""
        return super().shared_model(server)

    # -- the clients ------------------------------------------------------------------------------------------------

    def personal_model(self, cohort: Cohort, shared: TensorDict | None) -> TensorDict | None:
        """What each client's objective wears."""
        if self.settings.objective is None or shared is None:
            return None
        return of_objectives(shared, self.parts(cohort.bench, shared), cohort.clients)

    def newcomer(self, cohort: Cohort, shared: TensorDict | None) -> tuple[TensorDict, list[str]] | None:
        """Nobody in particular, as yet."""
        if self.settings.objective is None or shared is None:
            return super().newcomer(cohort, shared)
        return expand(narrowed(shared, self.parts(cohort.bench, shared)), len(cohort)), ["*"]

    @task
    def evaluate(self, cohort: Cohort, splits: str, adapter: TensorDict | None = None) -> Replies:
        """The personal model is that of the client's own objective, the shared one nobody's."""
        if self.settings.objective is None or adapter is None:
            return super().evaluate(cohort, splits, adapter)
        shared = narrowed(adapter, self.parts(cohort.bench, adapter))
        return evaluate_cohort(cohort, splits.split(","), shared, self.personal_model(cohort, adapter), shared=True)
