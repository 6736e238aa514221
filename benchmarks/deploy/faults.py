"""Faults by the hundred: most rounds are hit, and every honest reply must arrive as it was sent, nothing else.

In each round one or two of five clients are hit. A fault is either *left out* (the reply, with a reason) or *mended*
(the client's honest reply arrives all the same). A round is lost when an honest reply is missing from it, a reply is
corrupted when one is taken that no honest node sent.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.deploy.damage import BAD
from benchmarks.deploy.world import World
from synoptic.adapters.stack import names
from synoptic.deploy.envelope import HEAD, Ask, pack_ask, read_ask
from synoptic.deploy.node import Node
from synoptic.deploy.post import Presence
from synoptic.federation.message import decode, encode

CLIENTS = 5

OUTLASTED = "late: nothing within the deadline"
REPLAYED = "the reply of an earlier round"
GARBLED = "the question is damaged on its way"
TWICE = "the question comes twice"
KILLED = "the node is killed mid-round and comes back"
RESUMED = "the server is killed mid-round and resumed"

DOOR = (
    "a key that the server does not know", "no key", "plain text at the TLS port", "an authority of somebody else's",
    "a clock that is an hour off",
)  # fmt: skip
"""Nodes that are kept out, over sockets only."""

LEFT_OUT = (*BAD, REPLAYED, GARBLED, OUTLASTED)
MENDED = (TWICE, KILLED, RESUMED)
ALONE = (OUTLASTED, KILLED, RESUMED)
"""Not together with others in one round."""


def few() -> dict[str, int]:
    """The same for sockets, where each round takes a moment."""
    return {**dict.fromkeys(BAD, 2), REPLAYED: 2, GARBLED: 2, TWICE: 2, KILLED: 2, OUTLASTED: 2}


def thousand() -> dict[str, int]:
    """How often each kind comes: what is cheap more often; 1,000 and a few in all."""
    return {**dict.fromkeys(BAD, 54), REPLAYED: 30, GARBLED: 30, TWICE: 15, KILLED: 6, RESUMED: 5, OUTLASTED: 4}


@dataclass
class Tally:
    """What happened.

    Attributes:
        rounds, lost_rounds, corrupted_replies: see the module.
        times: how often each kind came.
        ended: how often it ended as it should.
    """

    rounds: int = 0
    lost_rounds: int = 0
    corrupted_replies: int = 0
    times: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        """Plain values, kinds in the order of the module."""
        meant = {**dict.fromkeys(LEFT_OUT, "left out"), **dict.fromkeys(MENDED, "mended"),
                 **dict.fromkeys(DOOR, "kept out")}  # fmt: skip
        rows = {kind: {"times": self.times[kind], "meant": end, "so_ended": self.ended[kind]}
                for kind, end in meant.items() if self.times[kind]}  # fmt: skip
        return {"rounds": self.rounds, "lost_rounds": self.lost_rounds, "corrupted_replies": self.corrupted_replies,
                "faults": sum(self.times.values()), "by_kind": rows}  # fmt: skip


class Chaos:
    """Hits a world's nodes; it is the fate of their letters.

    Args:
        seed: of what is hit when.
        deadline: seconds of a round in which somebody is late; others must be able to answer in them.
    """

    def __init__(self, seed: int = 7, deadline: float = 3.0) -> None:
        self.hit: dict[int, str] = {}
        self.world: World
        self.tally = Tally()
        self._rng = random.Random(seed)
        self.deadline = deadline
        self._replies: dict[int, bytes] = {}
        self._old: dict[int, bytes] = {}
        self._dead: dict[int, bytes] = {}

    def run(self, world: World, times: Mapping[str, int]) -> Tally:
        """Go on until each kind has come so often."""
        self.world = world
        queue = [kind for kind, count in times.items() for _ in range(count)]
        self._rng.shuffle(queue)
        # Nobody can replay a round before there was one.
        truth, _ = world.here(), world.ask()
        while queue:
            self.hit = self._next(queue)
            self.tally.rounds += 1
            self.tally.times.update(self.hit.values())
            self._round(truth)
        return self.tally

    def fate(self, seat: int, letter: bytes, node: Node) -> bytes | None:
        """See `benchmarks.deploy.loopback.Fate`."""
        head = read_ask(letter).head
        if head.task != "train":
            return node.answer(letter)
        kind = self.hit.get(seat, "")
        if kind in BAD:
            return BAD[kind][0](self._honest(seat, letter, node))
        if kind == REPLAYED:
            return self._old[seat]
        if kind == GARBLED:
            return node.answer(letter[:-7])
        if kind == TWICE:
            return node.answer(letter) if node.answer(letter) else None
        if kind == OUTLASTED:
            return None
        if kind == KILLED and seat not in self._dead:
            self._dead[seat] = letter
            self.kill(seat)
            return None
        if self._dead.get(seat) is letter:
            return None  # what the dead node had taken, its successor never sees
        reply = self._honest(seat, letter, node)
        self._old.setdefault(seat, reply)
        return reply

    def kill(self, seat: int) -> None:
        """A node is gone, and one that has just begun is in its place."""
        post, there = self.world.post, self.world.post.presence[seat]
        post.there[seat] = self.world.new_node(seat)
        post.presence[seat] = Presence(there.name, there.signed_in + 1)

    def resume(self) -> None:
        """The nodes have worked, and nobody is left to hear of it; another server process asks again."""
        world = self.world
        for seat, node in world.nodes.items():
            asked = Ask(ask="unheard", session=world.roster.session, task="train", round=world.server.round, turn=9,
                        clients=(seat,))  # fmt: skip
            node.answer(pack_ask(asked, {"adapter": world.start}, [0]))
        world.begin()

    def _honest(self, seat: int, letter: bytes, node: Node) -> bytes:
        if seat not in self._replies:
            self._replies[seat] = node.answer(letter)
            return self._replies[seat]
        # The work was done once; only the question's name is new.
        fields = dict(decode(self._replies[seat]))
        told = json.loads(str(fields[HEAD])) | {"ask": read_ask(letter).head.ask}
        return encode({**fields, HEAD: json.dumps(told)})

    def _next(self, queue: list[str]) -> dict[int, str]:
        seats = self._rng.sample(range(CLIENTS), self._rng.choice([1, 2]))
        hit = {seats[0]: queue.pop()}
        if len(seats) > 1 and queue and not {hit[seats[0]], queue[-1]} & set(ALONE):
            hit[seats[1]] = queue.pop()
        return hit

    def _round(self, truth: Any) -> None:
        world, kinds = self.world, set(self.hit.values())
        self._dead.clear()
        if RESUMED in kinds:
            self.resume()
        world.federation._deadline = self.deadline if OUTLASTED in kinds else 60.0
        world.federation._grace = 60.0
        try:
            replies = world.ask()
        except Exception as error:
            print(f"round lost: {error}")
            self.tally.lost_rounds += 1
            return
        self._judge(replies, truth)

    def _judge(self, replies: Any, truth: Any) -> None:
        got = {seat: place for place, seat in enumerate(replies.clients)}
        honest = [seat for seat in range(CLIENTS) if self.hit.get(seat) not in LEFT_OUT]
        self.tally.corrupted_replies += sum(seat not in honest or not self._same(replies, place, truth, seat)
                                            for seat, place in got.items())  # fmt: skip
        if missing := [seat for seat in honest if seat not in got]:
            print(f"hit {self.hit}; missing {missing}: {self.world.reasons()}")
            self.tally.lost_rounds += 1
        for seat, kind in self.hit.items():
            self.tally.ended[kind] += (seat in got) if kind in MENDED else (seat in self.world.reasons())

    @staticmethod
    def _same(replies: Any, place: int, truth: Any, seat: int) -> bool:
        one, two = replies.adapter[place], truth.adapter[truth.clients.index(seat)]
        return names(one) == names(two) and all(torch.equal(one[name], two[name]) for name in names(one))
