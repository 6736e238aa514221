"""Nodes in this process behind the byte layer of a deployed run, and what may happen to letters on the way."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from synoptic.deploy.node import Node
from synoptic.deploy.policy import Policy
from synoptic.deploy.post import Arrived, Letter, Presence
from synoptic.deploy.site import Site

Fate = Callable[[int, bytes, Node], bytes | None]
"""What becomes of a letter to a node: the bytes that come back, or None when nothing does."""


def plain(number: int, letter: bytes, node: Node) -> bytes | None:
    """Nothing happens to it."""
    return node.answer(letter)


class Loopback:
    """A `synoptic.deploy.post.Post` that asks nodes in this process when their replies are looked for."""

    def __init__(self, nodes: dict[int, Node], fate: Fate = plain) -> None:
        self.there = nodes
        self.fate = fate
        self.presence = {number: Presence(f"site-{number}") for number in nodes}
        self.bytes_down = 0
        self._sent: dict[str, Letter] = {}
        self._count = 0

    def nodes(self) -> dict[int, Presence]:
        return {number: self.presence[number] for number in self.there}

    def send(self, letters: Sequence[Letter], seconds: float) -> list[str]:
        tickets = []
        for letter in letters:
            self._count += 1
            tickets.append(str(self._count))
            self._sent[tickets[-1]] = letter
            self.bytes_down += len(letter[1])
        return tickets

    def collect(self, tickets: Collection[str]) -> list[Arrived]:
        arrived = []
        for ticket in [ticket for ticket in tickets if ticket in self._sent]:
            number, content = self._sent[ticket]
            if number not in self.there:
                continue
            reply = self.fate(number, content, self.there[number])
            if reply is not None:
                del self._sent[ticket]
                arrived.append(Arrived(ticket, reply))
        return arrived

    def forget(self, tickets: Collection[str]) -> None:
        for ticket in tickets:
            self._sent.pop(ticket, None)


def parts(clients: int, folder: Path, policy: Policy | None = None) -> dict[int, Node]:
    """A node for each client of the recipe's own data."""
    return {
        client: Node(Site(seats=(client,), of=clients), policy or Policy(), folder / f"site-{client}")
        for client in range(clients)
    }
