"""The same faults over real sockets, with TLS and node keys; nodes are threads of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

from benchmarks.deploy.faults import CLIENTS, DOOR, KILLED, Chaos, Tally
from benchmarks.deploy.world import World
from synoptic.deploy.connection import Connection, Disconnected, Refused
from synoptic.deploy.keys import make_keys, read_clients, read_key
from synoptic.deploy.node import Node
from synoptic.deploy.post import Post
from synoptic.deploy.resident import Door, stay
from synoptic.deploy.superlink import SuperLink, Tls

WAIT = 60.0
DEADLINE = 15.0
"""Seconds of a round in which somebody is late: a busy machine answers in them."""


class Faulty:
    """Stands where a resident node's `Node` stands, and lets the chaos have its way with it."""

    turn = threading.Lock()
    """Processes do not share a base as threads do: here one node works at a time."""

    def __init__(self, chaos: Chaos, seat: int, node: Node) -> None:
        self._chaos, self._seat, self._node = chaos, seat, node

    @property
    def ended(self) -> str | None:
        return self._node.ended

    def answer(self, content: bytes) -> bytes:
        with self.turn:
            reply = self._chaos.fate(self._seat, content, self._node)
        if reply is not None:
            return reply
        if self._chaos.hit.get(self._seat) == KILLED:
            self._node = self._chaos.world.new_node(self._seat)
            raise Disconnected("this node was killed")
        time.sleep(self._chaos.deadline + 0.5)
        with self.turn:
            return self._node.answer(content)


class Threads(Chaos):
    """Chaos for nodes in threads: who is killed begins anew by itself."""

    def kill(self, seat: int) -> None:
        """See `Faulty.answer`."""


def over_sockets(folder: Path, times: Mapping[str, int], knocks: int = 2) -> Tally:
    """Faults of nodes, then ``knocks`` of each kind at the door.

    Args:
        folder: for keys and the nodes' state.
        times: how often each kind comes.
        knocks: how often each of `DOOR` is tried.
    """
    make_keys(folder, ["localhost"], [*(f"site-{seat}" for seat in range(CLIENTS)), "stranger"])
    make_keys(folder / "elsewhere", ["localhost"], [])
    (folder / "clients" / "stranger.pub").unlink()
    tls, chaos = Tls(folder / "server.crt", folder / "server.key"), Threads(deadline=DEADLINE)
    with SuperLink("127.0.0.1", 0, tls, read_clients(folder / "clients")) as link:
        threads: list[threading.Thread] = []

        def begin(nodes: dict[int, Node]) -> Post:
            for seat, node in nodes.items():
                key = read_key(folder / "sites" / f"site-{seat}.key")
                door = Door(f"localhost:{link.port}", folder / "ca.crt", key)
                work = threading.Thread(target=stay, args=(door, Faulty(chaos, seat, node), WAIT), daemon=True)
                work.start()
                threads.append(work)
            return link

        world = World(folder / "state", CLIENTS, post=begin)
        tally = chaos.run(world, times)
        for kind in DOOR * knocks:
            tally.times[kind] += 1
            tally.ended[kind] += kept_out(kind, f"localhost:{link.port}", folder)
        chaos.hit = {}
        world.roster.bye("")
        for work in threads:
            work.join(WAIT)
    return tally


def kept_out(kind: str, address: str, folder: Path) -> bool:
    """Whether a node of this kind gets no further than the door."""
    unknown, plain, no_key = kind == DOOR[0], kind == DOOR[2], kind == DOOR[1]
    ca = folder / "elsewhere" / "ca.crt" if kind == DOOR[3] else folder / "ca.crt"
    key = None if plain or no_key else read_key(folder / "sites" / f"{'stranger' if unknown else 'site-0'}.key")
    late = timedelta(hours=1 if kind == DOOR[4] else 0)
    clock = "flwr.supernode.node_auth_http_interceptor.now"
    try:
        with patch(clock, lambda: datetime.now(UTC) - late), Connection(address, ca, key, plain):
            return False
    except (Refused, Disconnected):
        return True
