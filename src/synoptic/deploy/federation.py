"""`FlowerFederation`: one letter to each node, replies until the deadline, failures with reasons."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from synoptic.core import SynopticError
from synoptic.deploy.envelope import STRANGER, Ask, pack_ask, read_answer, replies_of
from synoptic.deploy.post import Arrived
from synoptic.deploy.roster import Guest, Roster, missing
from synoptic.federation.message import Each, Failure, Field, Replies

PAUSE = 0.002
LONGEST_PAUSE = 0.05
"""Seconds between looks for replies: short after something came, longer while nothing does."""

DEADLINE = 3600.0
"""Seconds for one ask where the recipe sets no ``federation.deadline``: there is no waiting without an end."""

LINGER = 5.0
"""Seconds that a letter outlives its deadline, so that it is the deadline that is told, not a letter that is gone."""

GRACE = 30.0
"""Seconds that a client whose node went away has to come back, before the round goes on without it."""


@dataclass(frozen=True)
class Sent:
    """A letter under way: to whom, under which name, for which clients."""

    guest: Guest
    ask: str
    clients: tuple[int, ...]


class FlowerFederation:
    """Carries tasks to nodes. See `synoptic.federation.server.Federation`.

    Args:
        roster: who is there.
        deadline: seconds for one ask.
        grace: seconds that a client without a node has to come back.
        patience: seconds that `gather` waits for all clients.

    Attributes:
        last: when each client last replied.
        reasons: why each last failed.
        void: questions that came to nothing, as round, first and last turn; nodes take back what they changed.
    """

    def __init__(
        self, roster: Roster, deadline: float | None = None, grace: float = GRACE, patience: float = DEADLINE
    ) -> None:
        self.roster = roster
        self.last: dict[int, float] = {}
        self.reasons: dict[int, str] = {}
        self.void: list[tuple[int, int, int]] = []
        self.on_progress: Callable[[str, int, int], None] | None = None
        self.on_change: Callable[[], None] | None = None
        self._deadline = deadline or DEADLINE
        self._grace = grace
        self._patience = patience
        self._round, self._turn = -1, 0

    def deliver(
        self, task: str, clients: Sequence[int], round_: int, payload: dict[str, Field | Each]
    ) -> list[Replies]:
        """See `synoptic.federation.server.Federation`."""
        self._turn = self.asked(round_)
        self._round = self.roster.round = round_
        asking = Asking(self, task, list(clients), round_, self._turn, payload)
        parts = asking.all(time.monotonic() + self._deadline, self._deadline, self._grace)
        for part in parts:
            self.reasons |= {failure.client: failure.reason for failure in part.failures}
            self.last |= dict.fromkeys(part.clients, time.time())
        if self.on_change is not None:
            self.on_change()
        return parts

    def asked(self, round_: int) -> int:
        """How many questions this process has asked in a round."""
        return self._turn + 1 if round_ == self._round else 0

    def undo(self, round_: int, first: int) -> None:
        """What a round asked from its question ``first`` on came to nothing."""
        if self.asked(round_) > first:
            self.void.append((round_, first, self._turn))

    def gather(self, clients: Sequence[int], round_: int) -> None:
        """Wait until all clients are there, or some are and patience is over.

        Args:
            clients: whom to wait for.
            round_: rounds that are done.

        Raises:
            SynopticError: nobody has joined in time.
        """
        self.roster.round, until = round_, time.monotonic() + self._patience
        while missing(self.roster, clients) and time.monotonic() < until:
            self.roster.look()
            time.sleep(LONGEST_PAUSE)
        if len(missing(self.roster, clients)) == len(clients):
            why = "; ".join(self.roster.refusals()) or "none came"
            raise SynopticError(f"no node joined within {self._patience:g} s ({why})",
                                "start nodes with: synoptic join HOST:PORT") from None  # fmt: skip


class Asking:
    """One ask on its way.

    Args:
        federation: whose.
        task, clients, round_, turn, payload: what is asked.
    """

    def __init__(
        self, federation: FlowerFederation, task: str, clients: list[int], round_: int, turn: int,
        payload: dict[str, Field | Each],
    ) -> None:  # fmt: skip
        self._federation = federation
        self._roster = federation.roster
        self._task, self._clients, self._round, self._turn, self._payload = task, clients, round_, turn, payload
        self._unsent = dict.fromkeys(clients, time.monotonic())
        self._why: dict[int, str] = {}
        self._names: dict[tuple[int, ...], str] = {}
        self._open: dict[str, Sent] = {}
        self._parts: list[Replies] = []

    def all(self, until: float, deadline: float, grace: float) -> list[Replies]:
        """Everybody's reply, or why it is missing."""
        pause = PAUSE
        try:
            while self._unsent or self._open:
                self._roster.look()
                self._miss()
                self._send(until)
                arrived = self._roster.post.collect(list(self._open)) if self._open else []
                for one in arrived:
                    self._take(self._open.pop(one.ticket), one)
                if time.monotonic() > until:
                    self._give_up(deadline)
                    break
                self._without_homes(grace)
                pause = PAUSE if arrived else min(pause * 1.3, LONGEST_PAUSE)
                if not arrived and (self._unsent or self._open):
                    time.sleep(pause)
        finally:
            self._roster.post.forget(list(self._open))
        return self._parts

    def _send(self, until: float) -> None:
        """A letter to each node that clients wait to be asked at."""
        homes = self._roster.homes
        groups: dict[int, list[int]] = {}
        for client in self._unsent:
            if client in homes:
                groups.setdefault(homes[client].node, []).append(client)
        for node, clients in groups.items():
            # The same name when it is sent again: a node that has the reply sends it and works no second time.
            name = self._names.setdefault(tuple(clients), secrets.token_hex(16))
            head = Ask(ask=name, session=self._roster.session, task=self._task, round=self._round, turn=self._turn,
                       clients=tuple(clients), void=tuple(self._federation.void))  # fmt: skip
            content = pack_ask(head, self._payload, [self._clients.index(client) for client in clients])
            (ticket,) = self._roster.post.send([(node, content)], max(0.0, until - time.monotonic()) + LINGER)
            if ticket:
                self._open[ticket] = Sent(homes[clients[0]], name, head.clients)
                for client in clients:
                    del self._unsent[client]

    def _miss(self) -> None:
        """Letters to nodes that went, or were started again, are sent once more when their clients are there."""
        for ticket, sent in list(self._open.items()):
            if not self._roster.seated(sent.guest):
                self._roster.post.forget([ticket])
                self._wait_again(self._open.pop(ticket), "its node went away and did not come back")

    def _take(self, sent: Sent, arrived: Arrived) -> None:
        if arrived.content is None and sent.guest.node not in self._roster.post.nodes():
            self._wait_again(sent, arrived.reason)
            return
        try:
            if arrived.content is None:
                raise SynopticError(arrived.reason)
            head, fields = read_answer(arrived.content, sent.ask)
        except SynopticError as error:
            self._fail(sent.clients, str(error).removesuffix("."))
            return
        if head.refusal == STRANGER:
            self._roster.again(sent.guest)
            self._wait_again(sent, STRANGER)
            return
        self._parts += replies_of(head, fields, sent.clients, self._round, self._task)
        self._tell()

    def _wait_again(self, sent: Sent, why: str) -> None:
        self._unsent |= dict.fromkeys(sent.clients, time.monotonic())
        self._why |= dict.fromkeys(sent.clients, why)

    def _without_homes(self, grace: float) -> None:
        """Clients whose nodes do not come back."""
        homes, now = self._roster.homes, time.monotonic()
        gone = [client for client, since in self._unsent.items() if client not in homes and now - since > grace]
        for client in gone:
            self._fail([client], self._why.get(client) or self._roster.why_empty(client))

    def _give_up(self, deadline: float) -> None:
        late = [*self._unsent, *(client for sent in self._open.values() for client in sent.clients)]
        for client in late:
            self._fail([client], f"no reply within the deadline of {deadline:g} s")

    def _fail(self, clients: Sequence[int], why: str) -> None:
        failures = [Failure(client, self._round, self._task, why) for client in clients]
        self._parts.append(Replies([], {}, failures))
        for client in clients:
            self._unsent.pop(client, None)
        self._tell()

    def _tell(self) -> None:
        if self._federation.on_progress is not None:
            told = sum(len(part) + len(part.failures) for part in self._parts)
            self._federation.on_progress(self._task, told, len(self._clients))
