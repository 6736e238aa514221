"""Adaptive sharing: for every site, which factor is shared, A, B, both or neither; and with whom.

The first rounds are a probe: every client trains one adapter on each half of its data and sends small summaries of what
moved. Clients who agree with each other about as well as with themselves form groups; in a group each factor of each
site that they agree on is averaged, and the others stay personal. At the end each client chooses, on its validation
examples, between the newest shared parts and its own last ones.

Legend: N all clients, K clients of a cohort, G groups, S sites, 2 sides (A, B).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field, model_validator
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.algebra import lora_stems, mean
from synoptic.adapters.stack import expand, names
from synoptic.core import SynopticError
from synoptic.federation.message import Each
from synoptic.learning.fit import Fitted
from synoptic.methods.base import Cohort, Method, Replies, Section, Server, task
from synoptic.methods.delivery import candidates, choose, losses_on, picked, shares_of, validation_losses
from synoptic.methods.probing import fit_halves, middle, spaces, summaries
from synoptic.methods.sharing import SIDES, Bounds, Decision, decide, evidence


class Adaptive(Method):
    """Probe, decide, then average in each group what its members agree on."""

    class Settings(Section):
        """How long to look, how alike is alike, and what clients are left with."""

        probe: int = Field(2, ge=1, description="rounds of looking before a client shares anything")
        again: int = Field(0, ge=0, description="look again every so many rounds, with other halves; 0 looks once")
        both: float = Field(0.5, ge=0, description="agreement of updates, in units of a client's own, to share A and B")
        side: float = Field(0.7, ge=0, description="agreement of inputs (outputs) alone, to share A (B)")
        slack: float = Field(0.1, ge=0, description="hysteresis: what is shared already needs that much less")
        directions: int = Field(32, ge=1, description="rows of a summary (m)")
        deliver: Literal["global", "validate"] = Field(
            "validate", description="newest shared parts, or whatever suits a client's validation examples best"
        )

        @model_validator(mode="after")
        def _time_to_share(self) -> Adaptive.Settings:
            if 0 < self.again <= self.probe:
                raise ValueError(f"method.again={self.again} looks again before {self.probe} rounds of looking are "
                                 "over, so nothing is ever shared; raise it, or lower method.probe")  # fmt: skip
            return self

    summary = "decides for every layer which LoRA factor is shared, and with whom"
    has_shared = False
    has_personal = True

    # -- the server -------------------------------------------------------------------------------------------------

    def begin(self, server: Server) -> None:
        """Nobody has been looked at."""
        adapter, clients = server.new_adapter(), server.clients
        if not lora_stems(adapter):
            raise SynopticError("adaptive decides between the factors of LoRA, and the adapter has none",
                                "set adapter.vision or adapter.text to lora")  # fmt: skip
        server.state.probes = torch.zeros(clients, dtype=torch.long)
        server.state.group = torch.full((clients,), -1)

    def round(self, server: Server, t: int) -> None:
        """Look at whom there is to look at, train the others group by group; enough of all of them must answer."""
        looked_at = [client for client in server.sampled if self._to_probe(server, client, t)]
        rest = [client for client in server.sampled if client not in looked_at]
        with server.as_one():
            told: list[Replies] = [self._probe(server, looked_at, t)] if looked_at else []
            for number, members in self._by_group(server, rest):
                told.append(self._train(server, number, members))
        heard = [replies for replies in told if len(replies)]
        weights = torch.cat([replies.examples for replies in heard])
        server.log["loss"] = float((torch.cat([replies.loss for replies in heard]) * weights).sum() / weights.sum())
        server.log |= self._told(server)

    def end(self, server: Server) -> None:
        """After the last round everybody chooses, group by group."""
        if self.settings.deliver == "global":
            return
        groups = [(number, members) for number, members in self._by_group(server, range(server.clients)) if number >= 0]
        with server.as_one():
            told = [server.ask("choose", to=members, **self._down(server, number)) for number, members in groups]
        choices = [replies.choice for replies in told if len(replies)]
        if choices:
            server.log |= shares_of(torch.cat(choices))

    def _to_probe(self, server: Server, client: int, t: int) -> bool:
        again = self.settings.again
        new = int(server.state.probes[client]) < self.settings.probe
        return new or bool(again and t >= again and t % again < self.settings.probe)

    def _probe(self, server: Server, clients: list[int], t: int) -> Replies:
        """One round of looking; whoever has been looked at long enough is grouped anew with all others."""
        s, length = server.state, self.settings.probe
        done = s.probes[clients]
        replies = server.ask("probe", to=clients, spell=Each(done // length), step=Each(done % length))
        if not len(replies):
            return replies
        if "summary" not in s:
            s.summary = torch.zeros(server.clients, *replies.summary.shape[1:])
        probes, kept = s.probes.clone(), s.summary.clone()
        probes[replies.clients] += 1
        asked = torch.tensor(replies.clients)
        finished = probes[asked] % length == 0
        # Whoever is looked at again counts with its old summary until the new one is as good.
        kept[asked[finished]] = replies.summary[finished]
        s.probes, s.summary = probes, kept
        if bool(finished.any()):
            self._decide(server)
        return replies

    def _decide(self, server: Server) -> None:
        """Groups of all who have been looked at; a new group inherits what most of its members shared."""
        s = server.state
        ready = torch.nonzero(s.probes >= self.settings.probe)[:, 0]
        found = evidence(s.summary[ready], spaces(server.new_adapter(), self.settings.directions))
        before, shared = s.group[ready], None
        if bool((before >= 0).any()):
            shared = torch.where((before >= 0)[:, None, None], s.share[before.clamp(min=0)], False)
        together = (before[:, None] == before) & (before >= 0)[:, None]
        bounds = Bounds(self.settings.both, self.settings.side, self.settings.slack)
        decision = decide(found, bounds, together, shared)
        heirs = [int(before[group].mode().values) for group in decision.groups]
        self._inherit(server, heirs, decision)
        group = s.group.clone()
        group[ready] = decision.member(len(ready))
        s.group, s.share = group, decision.shares

    def _inherit(self, server: Server, heirs: Sequence[int], decision: Decision) -> None:
        """Shared adapters of the new groups ``[G, ...]``; ``held [G, S, 2]`` says which of their factors exist."""
        s = server.state
        fresh = server.new_adapter()
        old = s.get("shared")
        rows = [{name: old[name][heir] for name in names(old)} if old is not None and heir >= 0 else fresh
                for heir in heirs]  # fmt: skip
        held = [s.held[heir] if old is not None and heir >= 0 else torch.zeros_like(decision.shares[0])
                for heir in heirs]  # fmt: skip
        s.shared = TensorDict({name: torch.stack([row[name] for row in rows]) if rows else fresh[name][None][:0]
                               for name in names(fresh)}, [])  # fmt: skip
        s.held = torch.stack(held) & decision.shares if held else decision.shares

    def _by_group(self, server: Server, clients: Sequence[int]) -> list[tuple[int, list[int]]]:
        """Clients by group; those who share nothing come together, as number -1."""
        numbers: dict[int, list[int]] = {}
        for client in clients:
            numbers.setdefault(int(server.state.group[client]), []).append(client)
        return sorted(numbers.items())

    def _train(self, server: Server, number: int, members: list[int]) -> Replies:
        """One group's round of FedAvg over the factors that it shares."""
        s = server.state
        if number < 0:
            return server.ask("train", to=members)
        share = s.share[number]
        replies = server.ask("train", to=members, share=share.to(torch.uint8), **self._down(server, number))
        if not len(replies):
            return replies
        merged = mean(replies.shared, replies.examples)
        rows = {name: s.shared[name].clone() for name in names(s.shared)}
        for name in names(merged):
            rows[name][number] = merged[name]
        held = s.held.clone()
        held[number] = share
        s.shared, s.held = TensorDict(rows, []), held
        return replies

    def _down(self, server: Server, number: int) -> dict[str, TensorDict]:
        """What a group is sent: the factors that it shares and that exist already; if any."""
        s, fresh = server.state, server.new_adapter()
        chosen = shared_names(fresh, s.held[number])
        # What comes back under the name of what was sent is checked against it, so only like is named alike.
        key = "shared" if chosen == shared_names(fresh, s.share[number]) else "inherited"
        return {key: TensorDict({name: s.shared[name][number] for name in chosen}, [])} if chosen else {}

    def _told(self, server: Server) -> dict[str, float]:
        """How many groups share something, how many clients are in them, and how much of A and of B is shared."""
        s = server.state
        if "share" not in s:
            return {}
        looked_at = int((s.probes >= self.settings.probe).sum())
        parts = s.share[s.group[s.group >= 0]].double().mean(1).sum(0) / looked_at
        told = {"groups": float(len(s.share)), "grouped": float((s.group >= 0).sum())}
        return told | {f"shared/{side}": float(parts[place]) for place, side in enumerate(SIDES)}

    def broadcast(self, server: Server) -> TensorDict | None:
        """All groups' shared parts, and who is in which: what evaluation needs (counted apart)."""
        s = server.state
        if "shared" not in s:
            return None
        return TensorDict({**{name: s.shared[name] for name in names(s.shared)}, "held": s.held, "group": s.group}, [])

    # -- the clients ------------------------------------------------------------------------------------------------

    @task
    def probe(self, cohort: Cohort, spell: Tensor, step: Tensor) -> Replies:
        """Train both halves on; their summaries leave, the halves stay. A newcomer's model is their mean."""
        fresh = cohort.bench.new_adapter()
        starts = [cohort.personal.adapter(f"half {half}", fresh) for half in range(2)]
        begun = (step > 0).tolist()
        starts = [picked([expand(fresh, len(cohort)), start], torch.tensor(begun).long()) for start in starts]
        fitted = fit_halves(cohort, starts, spell.tolist())
        told = [summaries(half.stack, fresh, self.settings.directions, cohort.bench.seed) for half in fitted]
        loss = (fitted[0].loss + fitted[1].loss) / 2
        reply = cohort.reply(summary=torch.stack(told, dim=1), examples=cohort.examples, loss=loss)
        for half in range(2):
            cohort.personal[f"half {half}"] = fitted[half].stack
        own = cohort.personal.adapter("own", fresh)
        cohort.personal["own"] = picked([self._merged(cohort, fitted, fresh), own], (spell > 0).long())
        return reply

    def _merged(self, cohort: Cohort, halves: Sequence[Fitted], start: TensorDict) -> TensorDict:
        """A newcomer's model ``[K]``: the mean of its halves, or what they moved added up, by its training loss.

        Each half took half the steps. While training is young, only both moves together get as far as all steps would.
        """
        mean_of_both = middle(halves[0].stack, halves[1].stack)
        added = middle(expand(start, len(cohort)), mean_of_both, 2.0)
        stacks = [mean_of_both, added]
        return picked(stacks, choose(losses_on(cohort, stacks, cohort.positions)))

    @task
    def train(
        self, cohort: Cohort, shared: TensorDict | None = None, inherited: TensorDict | None = None,
        share: Tensor | None = None,
    ) -> Replies:  # fmt: skip
        """Train everything; send what the group shares, keep the rest and a copy of what was sent."""
        fitted = cohort.fit(self._newest(cohort, shared if inherited is None else inherited))
        fields: dict[str, TensorDict] = {}
        if share is not None:
            fields["shared"] = fitted.stack.select(*shared_names(cohort.bench.new_adapter(), share.bool()))
        reply = cohort.reply(**fields, examples=cohort.examples, loss=fitted.loss)
        cohort.personal["own"] = fitted.stack
        return reply

    @task
    def choose(self, cohort: Cohort, shared: TensorDict | None = None, inherited: TensorDict | None = None) -> Replies:
        """Which of `candidates` suits the client's validation examples; only its number leaves."""
        newest = self._newest(cohort, shared if inherited is None else inherited)
        choice = choose(validation_losses(cohort, candidates(newest, self._own(cohort))))
        reply = cohort.reply(choice=choice)
        cohort.personal["choice"] = choice
        return reply

    def personal_model(self, cohort: Cohort, shared: TensorDict | None) -> TensorDict | None:
        """The own parts with the newest shared ones, or what the client chose."""
        own = self._own(cohort)
        if shared is None:
            return own
        newest = {name: own[name].clone() for name in names(own)}
        for place, client in enumerate(cohort.clients):
            number = int(shared["group"][client])
            for name in shared_names(own, shared["held"][number]) if number >= 0 else []:
                newest[name][place] = shared[name][number]
        stacks = candidates(TensorDict(newest, own.batch_size), own)
        choice = cohort.personal.get("choice", torch.tensor(0))
        assert isinstance(choice, Tensor)
        return picked(stacks, choice)

    def _own(self, cohort: Cohort) -> TensorDict:
        return cohort.personal.adapter("own", cohort.bench.new_adapter())

    def _newest(self, cohort: Cohort, shared: TensorDict | None) -> TensorDict:
        own = self._own(cohort)
        if shared is None:
            return own
        given = expand(shared, len(cohort))
        return TensorDict({name: given[name] if name in names(shared) else own[name] for name in names(own)},
                          own.batch_size)  # fmt: skip


def shared_names(one: TensorDict, share: Tensor) -> list[str]:
    """Tensors that a decision ``[S, 2]`` shares; prompts and heads go along where anything is."""
    stems = lora_stems(one)
    pairs = {f"{stem}/{part}" for stem in stems for part in (*SIDES, "scale")}
    rest = [name for name in names(one) if name not in pairs] if bool(share.any()) else []
    chosen = [f"{stem}/{side}" for site, stem in enumerate(stems) for place, side in enumerate(SIDES)
              if bool(share[site, place])]  # fmt: skip
    return sorted(chosen + rest)
