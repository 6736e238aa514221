"""Dual adapters: a shared LoRA pair, averaged as by FedAvg, beside a personal pair that never leaves the client.

``h = W0 x + s ((1 - a) B_g A_g + a B_l A_l) x`` with one gate a for each site, learned by the client or fixed. Two
pairs mixed half and half in training are FedDPA's (Yang et al. 2024); the learned gate is ours.

Legend: K clients.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator
from tensordict import TensorDict

from synoptic.adapters.algebra import lora_stems, mean
from synoptic.adapters.slots import in_slot, of_slot, together
from synoptic.adapters.stack import expand, names, select
from synoptic.core.seeds import stream_seed
from synoptic.federation.bench import Bench
from synoptic.methods.base import Cohort, Method, Replies, Section, Server, task
from synoptic.methods.pairs import beside, first_pairs, gates, lora_of, mixers, weighed, with_scales_of

OWN = "own"
START = 0.5
"""The share of the personal pair before a learned gate has moved."""


class Dual(Method):
    """FedAvg on one pair, local training on the other, both worn at once."""

    class Settings(Section):
        """How the two pairs share in the update, and when each is trained."""

        gate: float | Literal["learned"] = Field(
            "learned", description="the personal pair's share a: learned by each client for each site, or a number"
        )
        order: Literal["together", "alternate"] = Field(
            "together", description="train both pairs in every round, or the shared one in even, the own in odd rounds"
        )
        match: bool = Field(False, description="halve the rank, so that both pairs together are as large as one was")

        @field_validator("gate")
        @classmethod
        def _share(cls, gate: float | str) -> float | str:
            if not isinstance(gate, str) and not 0 <= gate <= 1:
                raise ValueError("the personal pair's share is 0 to 1, or learned")
            return gate

    summary = "a shared LoRA pair beside a personal one, mixed by a gate (FedDPA, Yang et al. 2024)"
    has_personal = True
    personal = (f"*@{OWN}/*", "*/mixer/*")

    # -- the server -------------------------------------------------------------------------------------------------

    def begin(self, server: Server) -> None:
        """Start the shared pair from an update of zero."""
        server.state.adapter = self._first(server.bench)

    def round(self, server: Server, t: int) -> None:
        """As FedAvg; a round in which only the own pairs train brings nothing to average."""
        replies = server.ask("train", adapter=server.state.adapter)
        if self._moves(t, shared=True):
            server.state.adapter = mean(replies.adapter, replies.examples)
        server.log["loss"] = float((replies.loss * replies.examples).sum() / replies.examples.sum())

    def shared_model(self, server: Server) -> TensorDict:
        """The shared pair as a client wears it whose own pair is empty."""
        return weighed(server.state.adapter, 1 - self._share)

    def _moves(self, t: int, shared: bool) -> bool:
        return self.settings.order == "together" or (t % 2 == 0) == shared

    @property
    def _share(self) -> float:
        return START if self.settings.gate == "learned" else float(self.settings.gate)

    def _first(self, bench: Bench) -> TensorDict:
        return first_pairs(bench, bench.seed, self.settings.match)

    # -- the clients ------------------------------------------------------------------------------------------------

    @task
    def train(self, cohort: Cohort, adapter: TensorDict) -> Replies:
        """Train what this round trains, with both pairs worn; the shared one leaves, the own one and its gate stay."""
        own = self._own(cohort)
        stack = self._both(expand(adapter, len(cohort)), own)
        sides = {True: adapter, False: own}
        moving = [name for shared, side in sides.items() if self._moves(cohort.round, shared)
                  for name in names(side) if not name.endswith("/scale")]  # fmt: skip
        fitted = cohort.fit(stack, trainable=moving)
        fields: dict[str, TensorDict] = {}
        if self._moves(cohort.round, shared=True):
            fields["adapter"] = with_scales_of(fitted.stack.select(*names(adapter)), adapter)
        reply = cohort.reply(**fields, examples=cohort.examples, loss=fitted.loss)
        kept = with_scales_of(fitted.stack.select(*names(own)), own[0])
        cohort.personal[OWN] = kept
        return reply

    def personal_model(self, cohort: Cohort, shared: TensorDict | None) -> TensorDict | None:
        """Both pairs, gates folded into their scales, so that plain PEFT computes the same."""
        assert shared is not None
        main = expand(with_scales_of(shared, self._first(cohort.bench)), len(cohort))
        own = self._own(cohort)
        if self.settings.gate != "learned":
            return self._both(main, own)
        pairs = of_slot(select(own, f"*@{OWN}/*"), OWN)
        share = gates(select(own, "*/mixer/*"), lora_stems(main))
        rest = {stem: 1 - each for stem, each in share.items()}
        return together(weighed(main, rest), in_slot(weighed(pairs, share), OWN))

    def _own(self, cohort: Cohort) -> TensorDict:
        """The personal pairs ``[K]`` in their slot, and the gates; everybody's first ones are the same."""
        bench = cohort.bench
        pairs = lora_of(first_pairs(bench, stream_seed(bench.seed, "own pair"), self.settings.match))
        learned = [mixers(pairs, by_token=False)] if self.settings.gate == "learned" else []
        return cohort.personal.adapter(OWN, together(in_slot(pairs, OWN), *learned))

    def _both(self, main: TensorDict, own: TensorDict) -> TensorDict:
        if self.settings.gate == "learned":
            return together(main, own)
        return beside(main, of_slot(own, OWN), OWN, self._share)
