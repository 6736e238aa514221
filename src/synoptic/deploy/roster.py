"""Who is there: nodes that come, are told the terms, take seats, and go.

A seat is a client's number. Nothing here waits; `Roster.look` does what can be done at once and is called again.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from synoptic.core import SynopticError
from synoptic.deploy import terms
from synoptic.deploy.envelope import Ask, pack_ask, read_answer
from synoptic.deploy.post import Arrived, Post
from synoptic.federation.message import Field

LOOK = 0.1
"""Seconds between looks for nodes that came or went."""

GREETING = 120.0
"""Seconds that a node has to say who it is: a stock one looks every three, and starts a process to answer."""

HELD = 40.0
"""Seconds that a node waits for a seat that another holds: who was killed is taken for gone only after a while."""

Say = Callable[[str], None]


class Taken(SynopticError):
    """A seat is held by another node."""


@dataclass
class Guest:
    """A node on its way to a seat, or on one.

    Attributes:
        node: its address.
        name: of its key; empty without keys.
        signed_in: how often the node had signed in when it was greeted.
        stage: ``hello`` or ``begin`` (what it was last asked), ``waiting`` for a seat that is taken, ``seated`` when
            it works, ``refused``.
        seats: the clients that it is, or is to be.
        examples: that its clients hold.
        own: whether on data of its own.
        reason: why it was refused.
        wish: what it said of itself.
        came: when, by the monotonic clock.
    """

    node: int
    name: str
    signed_in: int = 1
    stage: str = "hello"
    seats: tuple[int, ...] = ()
    examples: int = 0
    own: bool = False
    reason: str = ""
    wish: terms.Wish | None = None
    came: float = field(default_factory=time.monotonic)


class Roster:
    """The nodes of a run.

    Args:
        post: to them.
        offered: the terms, without seats and round.
        names: of the seats, in order.
        session: name of this server process.
        patience: seconds that a node has to load its base and data.
        say: told what a person at the server should know.
    """

    def __init__(
        self, post: Post, offered: terms.Terms, names: tuple[str, ...], session: str, patience: float,
        say: Say = lambda sentence: None,
    ) -> None:  # fmt: skip
        self.post = post
        self.session = session
        self.round = 0
        self.guests: dict[int, Guest] = {}
        self._offered = offered
        self._names = names
        self._patience = patience
        self._say = say
        self._open: dict[str, tuple[Guest, Ask, float]] = {}
        self._looked = 0.0

    @property
    def homes(self) -> dict[int, Guest]:
        """The node of each client that has one now."""
        return {seat: guest for guest in self.guests.values() if guest.stage == "seated" for seat in guest.seats}

    def look(self) -> None:
        """Greet who came, seat who agreed, cross out who went."""
        if time.monotonic() - self._looked < LOOK:
            return
        self._looked = time.monotonic()
        there = self.post.nodes()
        for guest in list(self.guests.values()):
            if guest.node not in there or there[guest.node].signed_in != guest.signed_in:
                self._cross_out(guest)
        for node, presence in there.items():
            if node not in self.guests:
                self.guests[node] = Guest(node, presence.name, presence.signed_in)
                self._ask(self.guests[node], terms.HELLO, "", GREETING)
        for arrived in self.post.collect(list(self._open)):
            guest, asked, _ = self._open.pop(arrived.ticket)
            self._take(guest, asked, arrived)
        for guest in [guest for guest in self.guests.values() if guest.stage == "waiting"]:
            try:
                self._seat(guest)
            except SynopticError as error:
                self._refuse(guest, str(error), tell=True)
        for ticket, (guest, asked, until) in list(self._open.items()):
            if time.monotonic() > until:
                self.post.forget([ticket])
                del self._open[ticket]
                self._refuse(guest, f"no answer to '{asked.task}' in time")

    def seated(self, guest: Guest) -> bool:
        """Whether this very node still works here."""
        return self.guests.get(guest.node) is guest and guest.stage == "seated"

    def again(self, guest: Guest) -> None:
        """A node that does not know this server process begins anew."""
        guest.stage, guest.seats, guest.came = "hello", (), time.monotonic()
        self._ask(guest, terms.HELLO, "", GREETING)

    def bye(self, why: str, seconds: float = 5.0) -> None:
        """Tell everybody seated that the run is over, or why it is, and give them a moment to hear it."""
        for guest in self.guests.values():
            if guest.stage == "seated":
                self._ask(guest, terms.BYE, why, GREETING)
        until = time.monotonic() + seconds
        while self._open and time.monotonic() < until:
            self.look()
            time.sleep(LOOK / 4)

    def why_empty(self, seat: int) -> str:
        """What is known about a seat that nobody holds."""
        told = [f"a node was refused: {guest.reason}" for guest in self.guests.values()
                if guest.stage == "refused" and (seat in guest.seats or guest.name == self._names[seat])]  # fmt: skip
        return told[-1] if told else "no node is this client"

    def refusals(self) -> list[str]:
        """Why nodes were refused."""
        return [f"{guest.name or f'node {guest.node}'}: {guest.reason}"
                for guest in self.guests.values() if guest.stage == "refused"]  # fmt: skip

    def _ask(self, guest: Guest, task: str, content: str, seconds: float) -> None:
        asked = Ask(ask=secrets.token_hex(16), session=self.session, task=task)
        fields: dict[str, Field] = {terms.ABOUT: content}
        (ticket,) = self.post.send([(guest.node, pack_ask(asked, fields, ()))], seconds)
        if ticket:
            self._open[ticket] = (guest, asked, time.monotonic() + seconds)

    def _take(self, guest: Guest, asked: Ask, arrived: Arrived) -> None:
        try:
            if arrived.content is None:
                raise SynopticError(arrived.reason)
            head, fields = read_answer(arrived.content, asked.ask)
            if head.refusal:
                raise SynopticError(head.refusal.removesuffix("."))
            if asked.task == terms.HELLO:
                guest.wish = _read(terms.Wish, fields)
                self._seat(guest)
            elif asked.task == terms.BEGIN:
                self._agree(guest, _read(terms.Joined, fields))
        except SynopticError as error:
            self._refuse(guest, str(error), tell=asked.task == terms.HELLO)

    def _seat(self, guest: Guest) -> None:
        assert guest.wish is not None
        terms.check_version(guest.wish.version, "the node")
        try:
            guest.seats = self._wanted(guest, guest.wish)
        except Taken:
            if time.monotonic() - guest.came > HELD:
                raise
            guest.stage = "waiting"
            return
        guest.stage = "begin"
        names = tuple(self._names[seat] for seat in guest.seats)
        offered = self._offered.model_copy(update={"seats": guest.seats, "names": names, "round": self.round})
        self._ask(guest, terms.BEGIN, offered.model_dump_json(), self._patience)

    def _wanted(self, guest: Guest, wish: Any) -> tuple[int, ...]:
        clients, held = self._offered.clients, self._held(guest)
        if wish.seats and wish.of != clients:
            raise SynopticError(f"the node wants to be of {wish.of} clients, the run has {clients}",
                                f"join with --partition K/{clients}")  # fmt: skip
        if guest.name in self._names and guest.name:
            named = (self._names.index(guest.name),)
            if wish.seats not in ((), named):
                raise SynopticError(f"the key '{guest.name}' is of client {named[0]}, not of {list(wish.seats)}",
                                    "join without --partition")  # fmt: skip
            return named
        wanted = tuple(wish.seats) or tuple(seat for seat in range(clients) if seat not in held)[:1]
        taken = [seat for seat in wanted if seat in held or not 0 <= seat < clients]
        if taken or not wanted:
            why = f"client {taken[0]} is taken or does not exist" if taken else f"all {clients} clients are there"
            raise Taken(why, "end the node that is it, or join as another")  # fmt: skip
        return wanted

    def _held(self, but: Guest) -> set[int]:
        return {
            seat
            for guest in self.guests.values()
            if guest is not but and guest.stage != "refused"
            for seat in guest.seats
        }

    def _agree(self, guest: Guest, joined: Any) -> None:
        guest.stage, guest.examples, guest.own = "seated", joined.examples, joined.own
        called = ", ".join(self._names[seat] for seat in guest.seats)
        self._say(f"{called} joined with {guest.examples} training examples "
                  f"({len(self.homes)} of {self._offered.clients} clients)")  # fmt: skip

    def _refuse(self, guest: Guest, why: str, tell: bool = False) -> None:
        guest.stage, guest.reason = "refused", why.removesuffix(".")
        self._say(f"refused {guest.name or f'node {guest.node}'}: {guest.reason}")
        if tell:
            self._ask(guest, terms.BYE, why, GREETING)

    def _cross_out(self, guest: Guest) -> None:
        del self.guests[guest.node]
        self._open = {ticket: kept for ticket, kept in self._open.items() if kept[0] is not guest}
        if guest.stage == "seated":
            self._say(f"{', '.join(self._names[seat] for seat in guest.seats)} left")


def _read(kind: Any, fields: Mapping[str, Field]) -> Any:
    try:
        return kind.model_validate_json(str(fields[terms.ABOUT]))
    except (KeyError, ValidationError) as error:
        raise SynopticError("the node's words are not as agreed", "install the same Synoptic on both sides") from error


def missing(roster: Roster, clients: Iterable[int]) -> list[int]:
    """Clients without a node now."""
    homes = roster.homes
    return [client for client in clients if client not in homes]
