"""MoR (Lu et al. 2026, arXiv 2605.03426), as reconstructed: preferences instead of parameters.

Clients learn reward models from their own preferences; a router, learned together, says whose reward to trust for which
question; the server aligns its policy by GRPO with the mixture of their scores, held to a reference by a divergence. No
parameters of reward models, labels or pictures leave a client. docs/methods/mor.md tells what is confirmed of the paper
and what we put in its place.

Legend: K clients, N questions, d features of an input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.stack import leaves
from synoptic.core import SynopticError
from synoptic.core.seeds import generator
from synoptic.data.federated import FederatedData
from synoptic.data.table import ExampleTable
from synoptic.federation.message import Each, Field
from synoptic.learning.inputs import input_embeddings
from synoptic.learning.problem import Answering
from synoptic.learning.routing import (
    Known,
    Router,
    Statistics,
    discriminant,
    draw_others,
    fit_gate,
    gated,
    imbalance,
    index_step,
    mixed,
    statistics,
)
from synoptic.methods.audit import Audited
from synoptic.methods.base import Cohort, Replies, Server, task
from synoptic.methods.critic import Economical
from synoptic.methods.held_out import Pairs
from synoptic.methods.judging import pair_scores
from synoptic.methods.latecomers import Told, Welcoming, alone
from synoptic.methods.mor_settings import MoRSettings
from synoptic.methods.objectives import Conditioned

Ints = NDArray[np.int64]
LEARNED = ("gates", "discriminant", "index")
OTHERS = 200
"""Least inputs that a gate's own are told apart from."""
ROUNDING = 1e-9
"""Of the largest mean square: how far below zero a variance may come out."""


class MoR(Conditioned, Audited, Economical, Welcoming):
    """Reward models at clients (A), a router (B), GRPO at the server (C)."""

    class Settings(MoRSettings):
        """See `mor_settings`."""

    summary = "reward models at clients, a learned router, GRPO at the server (Lu et al. 2026)"

    # -- the server -------------------------------------------------------------------------------------------------

    def introduce(self, server: Server) -> None:
        """Calibrate and show the questions; then stage B."""
        if self.settings.router == "single" and self.settings.client >= server.clients:
            raise SynopticError(f"method.client={self.settings.client}, and there are {server.clients} clients",
                                "clients are counted from 0")  # fmt: skip
        if self.settings.weights is not None and len(self.settings.weights) != server.clients:
            raise SynopticError(f"method.weights has {len(self.settings.weights)} numbers, and there are "
                                f"{server.clients} clients", "give one for each")  # fmt: skip
        super().introduce(server)
        if self.settings.router in LEARNED and self.settings.rewards == "own":
            self.route(server)

    def wanted(self, server: Server) -> Sequence[int]:
        """Everybody, or the single client."""
        return [self.settings.client] if self.settings.router == "single" else super().wanted(server)

    def route(self, server: Server, newcomer: int | None = None) -> None:
        """Stage B: a router from what clients tell of their inputs and of how right they are about them.

        With a ``newcomer`` only that one is asked, and what the others told before is used again.
        """
        s, there = self.settings, server.state.there
        asked = [client for client in range(server.clients) if there[client] > 0] if newcomer is None else [newcomer]
        told = Told() if newcomer is None else Told.unpacked(server.state.told)
        ask: Callable[..., Replies] = server.ask if newcomer is None else partial(alone, server)
        replies = ask("describe", to=asked, fewest=1)
        replies = server.refuse(replies, "describe", lambda client, said: _impossible(_told(said)), fewest=1)
        told.statistics |= {client: _told(replies.of(place)) for place, client in enumerate(replies.clients)}
        clients = sorted(told.statistics)
        each = [told.statistics[client] for client in clients]
        closed = discriminant(each)
        if s.router == "gates":
            count, mean, second = (torch.stack([getattr(one, name) for one in each])
                                   for name in ("count", "mean", "second"))  # fmt: skip
            replies = ask("gate", to=replies.clients, fewest=1, whose=torch.tensor(clients),
                          count=count, mean=mean, second=second)  # fmt: skip
            told.gates |= {client: (replies.weight[place], replies.bias[place])
                           for place, client in enumerate(replies.clients)}  # fmt: skip
            clients = sorted(told.gates)
            weight, bias = (torch.stack([told.gates[client][part] for client in clients]) for part in (0, 1))
            closed = gated(weight, bias, each)
        elif s.router == "index":
            closed = self._averaged(server, clients, len(closed.weight[0]), closed)
        server.state.router = packed(spread_out(closed, clients, server.clients))
        server.state.there = torch.zeros(server.clients).index_fill(0, torch.tensor(clients), 1.0)
        if len(clients) < server.clients:
            server.state.told = told.packed(server.clients)
            server.state.met = server.state.met if "met" in server.state else there

    def joined(self, server: Server, client: int) -> None:
        """A learned router has to know a newcomer."""
        if self.settings.router in LEARNED:
            self.route(server, client)

    def _averaged(self, server: Server, clients: Sequence[int], width: int, closed: Router) -> Router:
        """A classifier of client numbers, averaged over rounds with the same weight for everybody."""
        router = Router(torch.zeros(len(clients), width).double(), torch.zeros(len(clients)).double(), closed.known)
        for _ in range(self.settings.index_rounds):
            replies = server.ask("index", to=clients, weight=router.weight, bias=router.bias,
                                 place=Each(torch.arange(len(clients))))  # fmt: skip
            router = replace(router, weight=replies.weight.mean(0), bias=replies.bias.mean(0))
        return router

    def weigh(self, server: Server, positions: Ints) -> Tensor:
        """The router's weights ``[N, K]``, or those of a rule that stands in for it."""
        s, rows, clients = self.settings, server.bench.pool_rows, server.clients
        odds = None
        if s.router == "fixed" and s.weights is not None:
            given_K = torch.tensor(s.weights, dtype=torch.float64)
            return (given_K / given_K.sum()).expand(len(positions), -1)
        if s.router in ("uniform", "fixed") or s.rewards != "own":
            return torch.full((len(positions), clients), 1 / clients, dtype=torch.float64)
        if s.router == "single":
            return F.one_hot(torch.full((len(positions),), s.client), clients).double()
        if s.router == "domain":
            return at_home(server.bench.data, server.bench.pool_rows.table, positions)
        if s.router == "random":
            stream = generator(server.bench.seed, "random router", server.round, int(server.state.drawn))
            return F.one_hot(torch.randint(clients, (len(positions),), generator=stream), clients).double()
        router = unpacked(server.state.router)
        inputs = input_embeddings(rows.model, rows, positions)
        logits = router.logits(inputs)
        if s.inverted:
            logits = torch.where(torch.isfinite(logits), -logits, logits)
        if s.nobody:
            odds = router.odds(inputs)
        weights = mixed(logits, s.temperature, s.top, odds)
        ready = server.state.there.double()
        server.log["imbalance"] = float(imbalance(weights[:, ready > 0], ready[ready > 0] / ready.sum()))
        return weights

    # -- the clients ------------------------------------------------------------------------------------------------

    @task
    def describe(self, cohort: Cohort) -> Replies:
        """How many inputs there are, their mean and their mean square."""
        each = [statistics(inputs_of(cohort, rows), not self.settings.diagonal) for rows in cohort.positions]
        return cohort.reply(**{name: torch.stack([getattr(one, name) for one in each])
                               for name in ("count", "mean", "second")})  # fmt: skip

    @task
    def gate(self, cohort: Cohort, whose: Tensor, count: Tensor, mean: Tensor, second: Tensor) -> Replies:
        """On which inputs is my reward model right? Against its own mistakes and what others' statistics look like."""
        told = [Statistics(*one) for one in zip(count, mean, second, strict=True)]
        found: dict[int, tuple[Tensor, Tensor]] = {}
        for spec, part, places in self.kinds(cohort):
            stack = None if spec.script is not None else self.judge_of(part, spec, None)
            for place, rows in enumerate(Pairs(part, self.settings.held_out, spec.ties).held):
                client, inputs = part.clients[place], inputs_of(cohort, rows)
                one = None if stack is None else stack[place : place + 1]
                preferred, rejected = pair_scores(cohort, spec, one, rows)
                stream = cohort.generator(client, "gate")
                others = inputs[:0].double()
                if len(told) > 1:
                    others = draw_others(told, whose.tolist().index(client), max(OTHERS, len(rows)), stream)
                found[places[place]] = fit_gate(inputs, (preferred > rejected).double(), others)
        each = [found[place] for place in range(len(cohort))]
        return cohort.reply(weight=torch.stack([one[0] for one in each]), bias=torch.stack([one[1] for one in each]))

    @task
    def index(self, cohort: Cohort, weight: Tensor, bias: Tensor, place: Tensor) -> Replies:
        """Local steps on "which client is this?", whose answer at a client never changes."""
        s, router = self.settings, Router(weight, bias)
        each = [index_step(router, inputs_of(cohort, rows), int(own), s.index_steps, s.index_lr)
                for rows, own in zip(cohort.positions, place, strict=True)]  # fmt: skip
        return cohort.reply(
            weight=torch.stack([one.weight for one in each]), bias=torch.stack([one.bias for one in each])
        )


def _told(said: dict[str, Field]) -> Statistics:
    return Statistics(*(said[name] for name in ("count", "mean", "second")))  # type: ignore[arg-type]


def _impossible(told: Statistics) -> str | None:
    """What is wrong with statistics that no inputs can have: others draw from them, and would fail."""
    spread = told.covariance
    fits = float(told.count) >= 1 and bool(torch.isfinite(spread).all())
    if fits and float(torch.linalg.eigvalsh(spread)[0]) >= -ROUNDING * float(told.second.abs().max()):
        return None
    return "no inputs have the statistics that it told"


def inputs_of(cohort: Cohort, rows: Ints) -> Tensor:
    """Embeddings ``[n, d]`` of a client's own questions with their pictures."""
    problem = cohort.bench.problem
    assert isinstance(problem, Answering)
    return input_embeddings(problem.model, problem.train_rows, rows)


def at_home(data: FederatedData, table: ExampleTable, positions: Ints) -> Tensor:
    """Weights ``[N, K]`` of clients by how many of their rows are of each question's own domain: a router's oracle.

    Raises:
        SynopticError: rows without domains.
    """
    if table.domains is None or data.train.domains is None:
        raise SynopticError(f"{table.name} does not say of which domain a question is, so router=domain knows nothing",
                            "set another method.router")  # fmt: skip
    own = [np.bincount(data.train.domains[data.clients.train(client)], minlength=len(data.train.domain_names))
           for client in range(len(data.clients))]  # fmt: skip
    held_NK = torch.from_numpy(np.stack(own, 1)[table.domains[positions]]).double()
    return held_NK / held_NK.sum(1, keepdim=True).clamp(min=1)


def spread_out(router: Router, clients: Sequence[int], count: int) -> Router:
    """A router of some clients as one of all ``count``: those who did not take part are never trusted."""
    weight = torch.zeros(count, router.weight.shape[1], dtype=torch.float64)
    bias = torch.full((count,), -torch.inf, dtype=torch.float64)
    weight[list(clients)], bias[list(clients)] = router.weight, router.bias
    return replace(router, weight=weight, bias=bias)


def packed(router: Router) -> TensorDict:
    """A router as the server's state keeps it."""
    known = {} if router.known is None else {f"known/{name}": value for name, value in vars(router.known).items()}
    return TensorDict({"router/weight": router.weight, "router/bias": router.bias, **known}, batch_size=[])


def unpacked(kept: TensorDict) -> Router:
    """The router that `packed` packed."""
    tensors = leaves(kept)
    known = {name.removeprefix("known/"): value for name, value in tensors.items() if name.startswith("known/")}
    return Router(tensors["router/weight"], tensors["router/bias"], Known(**known) if known else None)
