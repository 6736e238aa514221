"""Flower's stock node without its processes: every letter meets a new node that has nothing but its folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from synoptic.deploy import flower
from synoptic.deploy.apps import client_app

RUN = 7


class Grid:
    """What a server app is given: nodes of these configurations, which answer when their replies are looked for."""

    def __init__(self, configs: Sequence[dict[str, Any]]) -> None:
        self.run = SimpleNamespace(run_id=RUN)
        self.configs = {number: dict(config) for number, config in enumerate(configs, 1)}
        self.sent: dict[str, Any] = {}

    def get_node_ids(self) -> list[int]:
        return list(self.configs)

    def push_messages(self, messages: Iterable[Any]) -> list[str]:
        for message in messages:
            message.metadata.__dict__["_message_id"] = message.object_id
            self.sent[message.object_id] = message
        return [message.object_id for message in messages]

    def pull_messages(self, tickets: Iterable[str]) -> list[Any]:
        return [self.answer(self.sent.pop(ticket)) for ticket in list(tickets) if ticket in self.sent]

    def answer(self, message: Any) -> Any:
        node = message.metadata.dst_node_id
        state = flower.RecordDict()
        context = flower.Context(RUN, node, dict(self.configs[node]), state, {})
        return client_app(message, context)


def parts(clients: int, folder: Path) -> list[dict[str, Any]]:
    """Configurations of nodes that take part in the recipe's own data, as ``flwr run`` gives them in simulation."""
    return [{"partition-id": seat, "num-partitions": clients, "state": str(folder / str(seat))}
            for seat in range(clients)]  # fmt: skip
