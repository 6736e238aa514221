"""FedVLM (Mitra et al. 2025, arXiv 2507.17088): pLoRA, and the federated-LoRA family that it belongs to.

pLoRA adapts every chosen weight by ``h = W x + s B A_k x``: B is shared, trained everywhere and averaged; A_k is the
client's own and never leaves it. ``method.rule`` names another line of the family's table (`RULES`), of which pLoRA is
one.

Legend: K clients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from tensordict import TensorDict

from synoptic.adapters.algebra import lora_stems
from synoptic.adapters.slots import in_slot
from synoptic.adapters.stack import expand, names, stack_of
from synoptic.core import SynopticError
from synoptic.federation.message import Each
from synoptic.learning.fit import Fitted
from synoptic.methods.base import Cohort, Method, Replies, Section, Server, task
from synoptic.methods.fedvlm_rules import ALL, MERGED, PATTERNS, RULES, Global, Rule, over, part
from synoptic.methods.fedvlm_start import at_rank, first_adapters, narrowed, rank_of

Sent = TensorDict | list[TensorDict] | None
"""The same for the whole cohort, or one for each client; None where nothing was sent."""

PAIR = ALL | {"scale"}


class FedVLM(Method):
    """One round of any rule: send the shared parts, train, merge what comes back; the rest stays at the clients."""

    class Settings(Section):
        """Which rule, and what clients are left with at the end."""

        rule: Literal["local", "fedavg", "ffa", "rolora", "fedsa", "plora", "fedex", "flora", "flexlora"] = Field(
            "plora", description="what is trained, sent, merged and kept; plora is FedVLM's"
        )
        weights: Literal["examples", "uniform"] = Field("examples", description="how much a client counts in a mean")
        start: Literal["common", "independent"] = Field("common", description="A's first values, where clients keep A")
        ranks: tuple[int, ...] | None = Field(None, min_length=1, description="LoRA ranks dealt out to the clients")
        deliver: Literal["global", "own"] = Field("global", description="shared parts of a personal model: newest, own")
        finetune: int = Field(0, ge=0, description="local steps on the finished model, which makes it personal")

        @model_validator(mode="after")
        def _possible(self) -> FedVLM.Settings:
            rule, what = RULES[self.rule], f"method.rule={self.rule}"
            if self.start == "independent" and not rule.own_start:
                raise ValueError(f"with {what} all clients start from one A; leave method.start at common")
            if self.ranks is not None and not rule.any_rank:
                mixed = ", ".join(name for name, one in RULES.items() if one.any_rank)
                raise ValueError(f"with {what} all clients have one rank; take method.ranks to {mixed}")
            if self.deliver == "own" and not (rule.kept and rule.sends):
                raise ValueError(f"with {what} there is nothing to choose; take method.deliver=own to plora or fedsa")
            return self

    summary = "pLoRA: B shared, A personal (Mitra et al. 2025); and the federated-LoRA family"

    @property
    def rule(self) -> Rule:
        """The line of the table."""
        return RULES[self.settings.rule]

    @property
    def has_shared(self) -> bool:  # type: ignore[override]
        """Whether there is a whole model for everybody."""
        return not self.rule.kept

    @property
    def has_personal(self) -> bool:  # type: ignore[override]
        """Whether clients keep something, or fine-tune at the end."""
        return bool(self.rule.kept) or self.settings.finetune > 0

    @property
    def personal(self) -> tuple[str, ...]:  # type: ignore[override]
        """What may never be in a reply."""
        return tuple(pattern for kept in sorted(self.rule.kept) for pattern in PATTERNS[kept])

    # -- the server -------------------------------------------------------------------------------------------------

    def begin(self, server: Server) -> None:
        """Start from an update of zero; what the clients keep never gets here."""
        adapter = server.new_adapter()
        check(adapter, self.settings.rule, self.settings.ranks)
        if names(shared := part(adapter, self.rule.returned)):
            server.state.shared = shared

    def round(self, server: Server, t: int) -> None:
        """Broadcast the shared parts, train, merge."""
        replies = server.ask("train", **self._down(server, server.sampled, t))
        if self.rule.sends:
            self._merge(server, replies)
        server.log["loss"] = float((replies.loss * replies.examples).sum() / replies.examples.sum())

    def end(self, server: Server) -> None:
        """Everybody may fine-tune."""
        if self.settings.finetune:
            everybody = range(server.clients)
            server.ask("finetune", to=everybody, **self._down(server, everybody, server.round))

    def _merge(self, server: Server, replies: Replies) -> None:
        sent = over(replies.shared, part(self._first(server, replies.clients, server.round), {"scale"}))
        weights = replies.examples if self.settings.weights == "examples" else torch.ones(len(replies))
        was = Global(_shared(server), server.state.get(MERGED))
        now = self.rule.merge(sent, weights, was, part(server.new_adapter(), {"scale"}))
        if names(now.shared):
            server.state.shared = now.shared
        if now.merged is not None:
            server.state.merged = now.merged

    def _down(self, server: Server, clients: Sequence[int], t: int) -> dict[str, Any]:
        """What is sent: the shared parts that move in this round, those that do not, what was merged; if any."""
        shared, moving = _shared(server), self.rule.sent(t)
        fields = {"shared": part(shared, moving), "fixed": part(shared, ALL - moving)}
        payload: dict[str, Any] = {name: field for name, field in fields.items() if names(field)}
        if self.settings.ranks is not None:
            spec = server.bench.adapter
            payload = {name: Each([at_rank(field, rank_of(client, self.settings.ranks), spec) for client in clients])
                       for name, field in payload.items()}  # fmt: skip
        return payload | ({MERGED: server.state.merged} if MERGED in server.state else {})

    def broadcast(self, server: Server) -> TensorDict | None:
        """The shared model; the shared parts alone where there is none."""
        return self.shared_model(server) if self.has_shared else server.state.get("shared")

    def shared_model(self, server: Server) -> TensorDict:
        """The shared parts, those that nobody trains as everybody makes them, and what was merged."""
        adapter = over(server.new_adapter(), _shared(server))
        return over(adapter, in_slot(server.state.merged, MERGED)) if MERGED in server.state else adapter

    # -- the clients ------------------------------------------------------------------------------------------------

    @task
    def train(
        self, cohort: Cohort, shared: Sent = None, fixed: Sent = None, merged: TensorDict | None = None
    ) -> Replies:
        """Train the own and the shared parts together; send the shared ones, keep the own."""
        fitted = self._fit(cohort, self._worn(cohort, shared, fixed, merged), self.rule.trained(cohort.round))
        sent = self._unpadded(cohort, part(fitted.stack, self.rule.sent(cohort.round)))
        fields: dict[str, Any] = {"shared": sent} if self.rule.sends else {}
        reply = cohort.reply(**fields, examples=cohort.examples, loss=fitted.loss)
        if self.rule.kept:
            cohort.personal["own"] = self._unpadded(cohort, part(fitted.stack, self.rule.kept))
        if self.settings.deliver == "own":
            # Only now, because a reply may not hold what is personal.
            cohort.personal["last"] = sent
        return reply

    @task
    def finetune(
        self, cohort: Cohort, shared: Sent = None, fixed: Sent = None, merged: TensorDict | None = None
    ) -> Replies:
        """A few more steps on every part, from the model that the client would be given; the result stays there."""
        start = self._delivered(cohort, self._worn(cohort, shared, fixed, merged))
        fitted = self._fit(cohort, start, ALL, self.settings.finetune)
        cohort.personal["tuned"] = self._unpadded(cohort, part(fitted.stack, PAIR))
        return cohort.reply(examples=cohort.examples, loss=fitted.loss)

    def personal_model(self, cohort: Cohort, shared: TensorDict | None) -> TensorDict | None:
        """The own parts with the newest shared ones (or the client's own last); fine-tuned where that was done."""
        stack = self._delivered(cohort, self._worn(cohort, shared))
        return over(stack, cohort.personal.adapter("tuned", part(stack, PAIR))) if self.settings.finetune else stack

    def newcomer(self, cohort: Cohort, shared: TensorDict | None) -> tuple[TensorDict, list[str]] | None:
        """Shared parts and what was merged stay; newcomers train the others, or all of them where nothing is kept."""
        begun = super().newcomer(cohort, shared)
        return begun and (begun[0], names(part(begun[0], self.rule.kept or ALL)))

    def _delivered(self, cohort: Cohort, stack: TensorDict) -> TensorDict:
        if self.settings.deliver == "own":
            return over(stack, cohort.personal.adapter("last", part(stack, self.rule.sends)))
        return stack

    def _fit(self, cohort: Cohort, start: TensorDict, parts: frozenset[str], steps: int | None = None) -> Fitted:
        train = cohort.bench.train.model_copy(update={"steps": steps}) if steps else None
        return cohort.fit(start, trainable=names(part(start, parts)), train=train)

    def _worn(
        self, cohort: Cohort, shared: Sent = None, fixed: Sent = None, merged: TensorDict | None = None
    ) -> TensorDict:
        """Adapters ``[K]``: everybody's first values, over these what was sent, over these what the client keeps."""
        stack = self._first(cohort, cohort.clients, cohort.round)
        for sent in (shared, fixed):
            stack = over(stack, self._for_each(cohort, sent)) if sent is not None else stack
        if merged is not None:
            stack = over(stack, expand(in_slot(merged, MERGED), len(cohort)))
        if self.rule.kept:
            stack = over(stack, cohort.personal.adapter("own", part(stack, self.rule.kept)))
        return stack

    def _first(self, at: Server | Cohort, clients: Sequence[int], t: int) -> TensorDict:
        independent, turn = self.settings.start == "independent", t if self.rule.restarts else None
        return first_adapters(at.bench, clients, self.settings.ranks, independent, turn)

    def _for_each(self, cohort: Cohort, sent: TensorDict | list[TensorDict]) -> TensorDict:
        if isinstance(sent, list):
            return stack_of(sent)
        if self.settings.ranks is None:
            return expand(sent, len(cohort))
        ranks = [rank_of(client, self.settings.ranks) for client in cohort.clients]
        return stack_of([at_rank(sent, rank, cohort.bench.adapter) for rank in ranks])

    def _unpadded(self, cohort: Cohort, stack: TensorDict) -> TensorDict | list[TensorDict]:
        if self.settings.ranks is None:
            return stack
        return [narrowed(stack[k], rank_of(client, self.settings.ranks)) for k, client in enumerate(cohort.clients)]


def _shared(server: Server) -> TensorDict:
    shared: TensorDict | None = server.state.get("shared")
    return TensorDict({}, batch_size=[]) if shared is None else shared


def check(adapter: TensorDict, rule: str, ranks: Sequence[int] | None) -> None:
    """Refuse adapters that a rule cannot be applied to.

    Raises:
        SynopticError: no LoRA where the rule is about its factors, heads or prompts where clients start anew in every
            round, or a client's rank above the adapter's.
    """
    line, stems = RULES[rule], lora_stems(adapter)
    if line.about_factors and not stems:
        raise SynopticError(f"method.rule={rule} is about the factors of LoRA, and the adapter has none",
                            "set adapter.vision or adapter.text to lora, or another rule")  # fmt: skip
    if line.restarts and names(part(adapter, {"rest"})):
        odd = names(part(adapter, {"rest"}))[0]
        raise SynopticError(f"method.rule={rule} starts every round with fresh LoRA, and the adapter has {odd} too",
                            "adapt with LoRA alone, or set another rule")  # fmt: skip
    most = min((adapter[f"{stem}/A"].shape[0] for stem in stems), default=0)
    if ranks is not None and not all(1 <= rank <= most for rank in ranks):
        raise SynopticError(f"method.ranks={list(ranks)} goes beyond the adapter's rank of {most}",
                            f"use ranks from 1 to {most}, or raise the adapter's rank")  # fmt: skip


def onboard(cohort: Cohort, shared: TensorDict, steps: int) -> Fitted:
    """A new client joins a finished federation: what it is given stays fixed, only what it lacks is trained.

    With pLoRA's shared parts that is the federated B, frozen, and an A of its own; bytes down are those of one round,
    nothing goes up.

    Args:
        cohort: the newcomers, with their data.
        shared: the federation's shared parts (`FedVLM.broadcast`).
        steps: of local training.

    Raises:
        SynopticError: nothing is left to train, because ``shared`` is a whole adapter.
    """
    start = over(first_adapters(cohort.bench, cohort.clients, None, False, None), expand(shared, len(cohort)))
    missing = [name for name in names(part(start, ALL)) if name not in set(names(shared))]
    if not missing:
        raise SynopticError("a newcomer would have nothing to train: the federation gives it a whole adapter",
                            "wear it as it is, or take a rule whose clients keep something (plora)")  # fmt: skip
    return cohort.fit(start, trainable=missing, train=cohort.bench.train.model_copy(update={"steps": steps}))
