"""What carries packed messages between the server and its nodes, as the rest of the room sees it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

Letter = tuple[int, bytes]
"""A node and what it is sent."""


@dataclass(frozen=True)
class Arrived:
    """What came back for one letter.

    Attributes:
        ticket: of the letter.
        content: the reply's bytes; None when there is none and will be none.
        reason: why there is none.
    """

    ticket: str
    content: bytes | None
    reason: str = ""


@dataclass(frozen=True)
class Presence:
    """A node that is there.

    Attributes:
        name: of its key; empty where nodes have none.
        signed_in: how often it has signed in; once more after it was started again.
    """

    name: str = ""
    signed_in: int = 1


class Post(Protocol):
    """Sends letters to nodes and collects replies; nothing in it waits."""

    def nodes(self) -> dict[int, Presence]:
        """Nodes that are there now."""
        ...

    def send(self, letters: Sequence[Letter], seconds: float) -> list[str]:
        """A ticket for each letter, empty where its node is not known. A letter is void after ``seconds``."""
        ...

    def collect(self, tickets: Collection[str]) -> list[Arrived]:
        """The replies that are there by now. Each is handed out once."""
        ...

    def forget(self, tickets: Collection[str]) -> None:
        """Nobody waits for these any longer."""
        ...
