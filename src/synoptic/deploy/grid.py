"""Letters by way of Flower's grid: what a server app has where `synoptic serve` has a SuperLink of its own."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

from synoptic.deploy import flower
from synoptic.deploy.post import Arrived, Letter, Presence

LOOK = 0.1
"""Seconds between requests for replies: each is one to the SuperLink, and its stock nodes look every three seconds."""


class GridPost:
    """A `synoptic.deploy.post.Post` over a Flower grid.

    Args:
        grid: of a server app.
        largest: bytes that a reply may have.
    """

    def __init__(self, grid: Any, largest: int) -> None:
        self._grid = grid
        self._run = int(grid.run.run_id)
        self._largest = largest
        self._looked = 0.0

    def nodes(self) -> dict[int, Presence]:
        """See `synoptic.deploy.post.Post`."""
        return {int(node): Presence() for node in self._grid.get_node_ids()}

    def send(self, letters: Sequence[Letter], seconds: float) -> list[str]:
        """See `synoptic.deploy.post.Post`."""
        return [self._send(node, content, seconds) for node, content in letters]

    def collect(self, tickets: Collection[str]) -> list[Arrived]:
        """See `synoptic.deploy.post.Post`."""
        if not tickets or time.monotonic() - self._looked < LOOK:
            return []
        self._looked = time.monotonic()
        return [self._arrived(message) for message in self._grid.pull_messages(list(tickets))]

    def forget(self, tickets: Collection[str]) -> None:
        """See `synoptic.deploy.post.Post`. A grid has no word for it; a letter is void after its seconds."""

    def _send(self, node: int, content: bytes, seconds: float) -> str:
        # One by one: what a SuperLink did not take must not be mistaken for another letter.
        sent = list(self._grid.push_messages([flower.new_message(self._run, node, content, seconds)]))
        return str(sent[0]) if sent and sent[0] else ""

    def _arrived(self, message: Any) -> Arrived:
        ticket, content = str(message.metadata.reply_to_message_id), flower.packed(message)
        if content is None:
            return Arrived(ticket, None, flower.why_empty(message))
        if len(content) > self._largest:
            return Arrived(ticket, None, f"its reply has {len(content)} bytes; at most {self._largest} are taken")
        return Arrived(ticket, content)
