"""FedPer (Arivazhagan et al. 2019): the last layers are personal, all below is averaged.

What stays with a client is a setting (`kept`): the last layers or heads, as FedPer has it; one side of every low-rank
pair, as in pLoRA and FedSA-LoRA; the blocks of one task, beside which shared blocks are worn; or whatever the recipe
names. Everything is trained together.

Legend: K clients.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from tensordict import TensorDict

from synoptic.adapters.stack import expand, leaves, names, without
from synoptic.federation.kinds import ask_kinds, averaged, mean_loss
from synoptic.methods.base import Cohort, Method, Replies, Section, Server, task
from synoptic.methods.fedper_parts import declared, kept, trained_of

OWN = "own"


class FedPer(Method):
    """FedAvg of what is shared; the rest never leaves its client."""

    class Settings(Section):
        """What is personal."""

        own: Literal["last", "inputs", "outputs", "task"] | tuple[str, ...] = Field(
            "last",
            description="the last layers; inputs or outputs of low-rank pairs; a task's blocks; or name patterns",
        )

    summary = "the last layers (or whatever is named) stay personal (FedPer, Arivazhagan et al. 2019)"
    has_personal = True
    several_tasks = True

    @property
    def has_shared(self) -> bool:  # type: ignore[override]
        """Whether nothing is missing of what everybody has."""
        return bool(not self.settings.own)

    @property
    def personal(self) -> tuple[str, ...]:  # type: ignore[override]
        """What may never be in a reply, as far as names tell it."""
        return declared(self.settings.own)

    # -- the server -------------------------------------------------------------------------------------------------

    def begin(self, server: Server) -> None:
        """Start from the shared part of a fresh adapter; the rest never gets here."""
        whole = server.new_adapter()
        server.state.adapter = without(whole, kept(whole, self.settings.own))

    def round(self, server: Server, t: int) -> None:
        """Broadcast what is shared, train all, average what is shared."""
        parts = ask_kinds(server, "train", adapter=server.state.adapter)
        server.state.adapter = averaged(server, server.state.adapter, parts)
        server.log["loss"] = mean_loss(parts)

    def broadcast(self, server: Server) -> TensorDict | None:
        """What is shared."""
        return self.shared_model(server)

    # -- the clients ------------------------------------------------------------------------------------------------

    @task
    def train(self, cohort: Cohort, adapter: TensorDict) -> Replies:
        """Train both parts together; the shared one leaves and the own one stays."""
        fitted = cohort.fit(self._whole(cohort, adapter))
        reply = cohort.reply(adapter=fitted.stack.select(*names(adapter)), examples=cohort.examples, loss=fitted.loss,
                             **cohort.rows)  # fmt: skip
        if names(own := without(fitted.stack, names(adapter))):
            cohort.personal[OWN] = own
        return reply

    def personal_model(self, cohort: Cohort, shared: TensorDict | None) -> TensorDict | None:
        """The own part with the newest shared one."""
        assert shared is not None
        return self._whole(cohort, shared)

    def newcomer(self, cohort: Cohort, shared: TensorDict | None) -> tuple[TensorDict, list[str]] | None:
        """What is shared stays, and newcomers train the rest; all of it where nothing is personal."""
        if shared is None:
            return None
        start = self._whole(cohort, shared)
        return start, trained_of(without(start, names(shared))) or ["*"]

    def _whole(self, cohort: Cohort, shared: TensorDict) -> TensorDict:
        """What is shared and what each client keeps, ``[K]``; everybody's first own part is the same."""
        fresh = cohort.bench.new_adapter(cohort.clients)
        own = cohort.personal.adapter(OWN, without(fresh, names(shared)))
        both = {**leaves(expand(shared, len(cohort))), **leaves(own)}
        return TensorDict(both, batch_size=[len(cohort)])
