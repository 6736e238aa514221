"""Clients that come later: taken in while the policy learns, and nobody else's reward model is touched.

In every round of stage C the server tries those who are not there yet. A latecomer first learns what it has missed,
round by round as it would have then, calibrates and is shown the questions; where a router is learned it tells its
statistics and its gate, and the router is made again with what the others told before. Where everybody has been there
from the start, nothing of this happens or is kept.

Legend: K clients, R rounds of reward models, d features of an input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from synoptic.core import SynopticError
from synoptic.federation.cohort import PersonalLeak
from synoptic.federation.message import Failure, Replies
from synoptic.federation.server import RoundFailed
from synoptic.learning.routing import Statistics
from synoptic.methods.aligning import Aligning, shown
from synoptic.methods.base import Server

Gate = tuple[Tensor, Tensor]
"""Weight ``[d]`` and bias of one client's gate."""


@dataclass
class Told:
    """What clients told for a learned router, by client."""

    statistics: dict[int, Statistics] = field(default_factory=dict)
    gates: dict[int, Gate] = field(default_factory=dict)

    def packed(self, clients: int) -> TensorDict:
        """As the server's state keeps it: rows of zeros for those who have told nothing."""
        kept: dict[str, Tensor] = {}
        parts = {name: {client: getattr(one, name) for client, one in self.statistics.items()}
                 for name in ("count", "mean", "second")}  # fmt: skip
        parts |= {name: {client: gate[place] for client, gate in self.gates.items()}
                  for place, name in enumerate(("weight", "bias"))}  # fmt: skip
        for name, each in parts.items():
            if each:
                rows = torch.zeros(clients, *next(iter(each.values())).shape, dtype=torch.float64)
                for client, value in each.items():
                    rows[client] = value
                kept[f"told/{name}"] = rows
        who = torch.zeros(2, clients, dtype=torch.uint8)
        who[0, list(self.statistics)], who[1, list(self.gates)] = 1, 1
        return TensorDict({**kept, "told/who": who}, batch_size=[])

    @classmethod
    def unpacked(cls, kept: TensorDict) -> Told:
        """What `packed` packed."""
        described, gated = (row.nonzero().flatten().tolist() for row in kept["told/who"])
        each = ("count", "mean", "second")
        return cls({client: Statistics(*(kept[f"told/{name}"][client] for name in each)) for client in described},
                   {client: (kept["told/weight"][client], kept["told/bias"][client]) for client in gated})  # fmt: skip


class Welcoming(Aligning):
    """Aligning with whoever is there, and with those who come."""

    def begin(self, server: Server) -> None:
        """Refuse a latecomer that would be alone."""
        if self.settings.late is not None and server.clients < 2:
            raise SynopticError(f"method.late={self.settings.late} is the round of the last client, and there is one",
                                "leave it out, or set more data.clients")  # fmt: skip
        super().begin(server)

    def present(self, server: Server) -> Sequence[int]:
        """Everybody, before ``late`` all but the last one."""
        late = self.settings.late
        return range(server.clients - (late is not None and server.round < late))

    def missed(self, server: Server, clients: Sequence[int]) -> None:
        """Note that they have this round to catch up with: ``state.missed [R, K]``, which is not there without need."""
        if not clients or self.settings.rewards != "own":
            return
        missed: Tensor | None = server.state.get("missed")
        if missed is None:
            missed = torch.zeros(self.settings.reward_rounds, server.clients, dtype=torch.uint8)
        missed = missed.clone()
        missed[server.round, list(clients)] = 1
        server.state.missed = missed

    def admit(self, server: Server) -> None:
        """Take in whoever has come and is not there yet; who fails at anything is tried in the next round."""
        if self.settings.rewards == "average":
            return
        there, wanted = server.state.there, {*self.wanted(server)} & {*self.present(server)}
        for client in [client for client in sorted(wanted) if not there[client] > 0]:
            try:
                self.take_in(server, client)
            except RoundFailed:
                continue

    def take_in(self, server: Server, client: int) -> None:
        """One latecomer, from its missed rounds on.

        Raises:
            RoundFailed: it does not answer, or not as it should.
        """
        state = server.state
        missed = state.get("missed")
        if "prepared" in state and not state.prepared[client] > 0:
            alone(server, "prepare", [client], policy=state.reference)
            state.prepared = state.prepared.index_fill(0, torch.tensor([client]), 1)
        for turn in [] if missed is None else missed[:, client].nonzero().flatten().tolist():
            alone(server, "learn", [client], turn=turn)
            # At once: a client that fails at what follows has still learned.
            missed = missed.clone()
            missed[turn, client] = 0
            state.missed = missed
        met = state.get("met")
        if met is None or not met[client] > 0:
            self.meet_late(server, client)
        self.joined(server, client)
        state.there = state.there.index_fill(0, torch.tensor([client]), 1.0)

    def meet_late(self, server: Server, client: int) -> None:
        """Calibrate and show the questions, once: ``state.met`` says to whom they were shown that is not there yet."""
        state, at = server.state, torch.tensor([client])
        accuracy = alone(server, "calibrate", [client]).accuracy
        alone(server, "meet", [client], **shown(server))
        met = state.get("met")
        state.accuracy = state.accuracy.index_copy(0, at, accuracy.float())
        state.met = (state.there if met is None else met).index_fill(0, at, 1.0)

    def joined(self, server: Server, client: int) -> None:
        """What else a newcomer has to do before it can be asked."""


def alone(server: Server, task: str, to: Sequence[int], **payload: Any) -> Replies:
    """`synoptic.federation.server.Server.ask` for one client that may not be there.

    Raises:
        RoundFailed: no valid reply.
    """
    try:
        return server.ask(task, to=to, **{"fewest": 1, **payload})
    except (RoundFailed, PersonalLeak):
        raise
    except Exception as error:
        # Alone in an ask, a client that cannot do it looks like a mistake of the method.
        reason = str(error) or type(error).__name__
        server.failures += [Failure(client, server.round, task, reason) for client in to]
        raise RoundFailed(f"clients {list(to)} cannot join: {reason}", "they are tried again in every round") from error
