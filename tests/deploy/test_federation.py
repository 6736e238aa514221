from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.deploy.damage import BAD, edited
from benchmarks.deploy.faults import CLIENTS as HIT
from benchmarks.deploy.faults import LEFT_OUT, MENDED, Chaos, thousand
from benchmarks.deploy.loopback import Fate, Loopback, plain
from benchmarks.deploy.world import World
from tensordict import TensorDict

from rooms import same
from synoptic.core import SynopticError
from synoptic.deploy.envelope import HEAD, read_ask
from synoptic.deploy.node import Node
from synoptic.deploy.policy import Policy
from synoptic.deploy.post import Presence
from synoptic.deploy.site import Site, settle
from synoptic.federation.local import LocalFederation
from synoptic.federation.message import Each, decode, encode
from synoptic.federation.personal import PersonalStore
from synoptic.federation.server import RoundFailed, Server
from synoptic.federation.spec import FederationSpec
from synoptic.methods.fedavg import FedAvg

CLIENTS = 4


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One world for tests that leave it as it was."""
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture
def world(shared: World) -> World:
    shared.post.fate = plain
    shared.server.round += 1
    return shared


def others(world: World, replies: Any, without: Sequence[int]) -> bool:
    """Whether everybody else's replies are those of the run in process, bit for bit."""
    whole = world.here()
    places = [place for place, client in enumerate(whole.clients) if client not in without]
    return bool(replies.clients == [whole.clients[place] for place in places]) and same(
        replies.adapter, whole.adapter[torch.tensor(places)]
    )


def spoil(number: int, change: Callable[[bytes], bytes]) -> Fate:
    """What one node replies to training is changed on its way."""

    def fate(node: int, letter: bytes, at: Node) -> bytes | None:
        reply = at.answer(letter)
        return change(reply) if node == number and read_ask(letter).head.task == "train" else reply

    return fate


@pytest.mark.parametrize("what", BAD)
def test_a_bad_reply_is_a_failure_with_a_reason_and_costs_nobody_else(what: str, world: World) -> None:
    change, why = BAD[what]
    world.post.fate = spoil(2, change)
    replies = world.ask()
    assert others(world, replies, [2])
    assert list(world.reasons()) == [2] and why in world.reasons()[2]


def test_a_replayed_reply_is_not_taken(world: World) -> None:
    old: list[bytes] = []

    def replay(node: int, letter: bytes, at: Node) -> bytes | None:
        if node != 1 or not old:
            reply = at.answer(letter)
            old.extend([reply] if node == 1 else [])
            return reply
        return old[0]

    world.post.fate = replay
    world.ask()
    world.server.round += 1
    assert others(world, world.ask(), [1])
    assert "another question" in world.reasons()[1]


def test_a_reply_in_another_node_s_name_is_not_taken(world: World) -> None:
    """A node that knows who else is asked cannot answer for them: it does not know the question's name."""
    world.post.fate = spoil(3, edited(lambda fields: fields.update({HEAD: str(fields[HEAD]).replace("[3]", "[0]")})))
    replies = world.ask()
    assert others(world, replies, [3])
    assert world.reasons() == {3: "the node's reply leaves this client out"}


def test_a_letter_that_comes_twice_is_worked_on_once(world: World) -> None:
    def twice(node: int, letter: bytes, at: Node) -> bytes | None:
        first, second = at.answer(letter), at.answer(letter)
        assert first == second
        return second

    world.post.fate = twice
    assert others(world, world.ask(), [])


def test_a_damaged_letter_is_refused_by_the_node(world: World) -> None:
    world.post.fate = lambda node, letter, at: at.answer(letter[:-7] if node == 0 else letter)
    assert others(world, world.ask(), [0])
    assert "damaged" in world.reasons()[0]


def test_clients_of_which_each_gets_its_own(world: World) -> None:
    stack = world.here().adapter
    mine = world.server.ask("train", adapter=Each(stack))
    local = Server(world.bench, LocalFederation(FedAvg(), world.bench, PersonalStore(), 1), FederationSpec())
    local.round = world.server.round
    assert same(mine.adapter, local.ask("train", adapter=Each(stack)).adapter)


def test_an_unknown_task_is_every_client_s_failure(world: World) -> None:
    world.server.failures.clear()
    with pytest.raises(RoundFailed, match="has no task 'launch'"):
        world.server.ask("launch")


def test_a_silent_node_is_left_out_at_the_deadline(tmp_path: Path) -> None:
    world = World(tmp_path, deadline=1.5)
    world.post.fate = lambda node, letter, at: None if node == 1 else at.answer(letter)
    started = time.monotonic()
    assert others(world, world.ask(), [1])
    assert 1.4 < time.monotonic() - started < 20
    assert world.reasons() == {1: "no reply within the deadline of 1.5 s"}
    world.post.fate = plain
    assert others(world, world.ask(), [])


def test_a_node_that_goes_for_good_is_left_out_after_a_moment(tmp_path: Path) -> None:
    world = World(tmp_path)
    del world.post.there[3]
    assert others(world, world.ask(), [3])
    assert world.reasons() == {3: "no node is this client"}


def test_a_node_killed_in_the_middle_of_a_round_and_started_again_is_asked_again(tmp_path: Path) -> None:
    # Longer than a busy machine needs to begin a node anew.
    world = World(tmp_path, grace=20.0)
    lost: list[bytes] = []

    def kill(node: int, letter: bytes, at: Node) -> bytes | None:
        if any(letter is one for one in lost):
            return None  # what the dead node had taken, its successor never sees
        if node == 2 and not lost and read_ask(letter).head.task == "train":
            lost.append(letter)
            world.post.there[2] = Node(Site(seats=(2,), of=CLIENTS), Policy(), tmp_path / "2")
            world.post.presence[2] = Presence("site-2", 2)
            return None
        return at.answer(letter)

    world.post.fate = kill
    assert others(world, world.ask(), [])
    assert world.reasons() == {} and any("left" in sentence for sentence in world.said)


def test_a_node_that_forgot_the_server_begins_anew(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.post.there[0] = Node(Site(seats=(0,), of=CLIENTS), Policy(), tmp_path / "0")
    told = Counter[str]()

    def count(node: int, letter: bytes, at: Node) -> bytes | None:
        told[read_ask(letter).head.task] += node == 0
        return at.answer(letter)

    world.post.fate = count
    assert others(world, world.ask(), [])
    assert told == {"train": 2, "hello": 1, "begin": 1}


def test_a_site_s_policy_reaches_both_sides(tmp_path: Path) -> None:
    world = World(tmp_path)
    heard: list[str] = []
    world.post.there[1] = Node(
        Site(seats=(1,), of=CLIENTS), Policy(may_leave=("evaluate.*",)), tmp_path / "p", heard.append
    )
    assert others(world, world.ask(), [1])
    assert world.reasons()[1].startswith("this site lets no 'train.adapter' leave; ask the site")
    assert heard[-1].startswith("refused: this site lets no 'train.adapter' leave")


def test_a_reply_above_the_limit_is_refused_by_the_node_itself(tmp_path: Path) -> None:
    world = World(tmp_path)
    place = world.nodes[0]._place
    assert place is not None
    object.__setattr__(place, "terms", place.terms.model_copy(update={"largest": 1000}))
    assert others(world, world.ask(), [0])
    assert "and the server takes 1000" in world.reasons()[0]


def test_an_exception_in_a_task_is_that_node_s_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)
    train = FedAvg.train

    def sick(self: FedAvg, cohort: Any, adapter: TensorDict) -> Any:
        if cohort.clients == [2]:
            raise ValueError("the disk is on fire")
        return train(self, cohort, adapter)

    sick.__synoptic_task__ = True  # type: ignore[attr-defined]
    monkeypatch.setattr(FedAvg, "train", sick)
    replies = world.ask()
    monkeypatch.undo()
    assert others(world, replies, [2])
    assert world.reasons() == {2: "ValueError: the disk is on fire"}


@pytest.mark.parametrize(
    "times", [dict.fromkeys((*LEFT_OUT, *MENDED), 1), pytest.param(thousand(), marks=pytest.mark.slow)]
)
def test_faults_of_all_kinds_lose_no_round_and_corrupt_no_reply(tmp_path: Path, times: dict[str, int]) -> None:
    """Chaos: one or two of five clients are hit in every round. The full count is what `benchmarks.deploy` tells."""
    chaos = Chaos()
    tally = chaos.run(World(tmp_path, HIT, post=lambda nodes: Loopback(nodes, chaos.fate)), times)
    assert (tally.lost_rounds, tally.corrupted_replies) == (0, 0)
    assert tally.times == tally.ended == Counter(times)


@pytest.mark.parametrize("faults", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_majority_of_faults_changes_no_honest_reply(tmp_path: Path, faults: int) -> None:
    """Chaos: most replies of three of four nodes are hit; what arrives is what an honest node sent, bit for bit."""
    world = World(tmp_path)
    truth = world.here().adapter
    rng, tally = random.Random(7), Counter[str]()
    honest = dict.fromkeys(range(CLIENTS))
    answers: dict[int, bytes] = {}

    def chaos(node: int, letter: bytes, at: Node) -> bytes | None:
        head = read_ask(letter).head
        if head.task != "train":
            return at.answer(letter)
        if node not in answers:
            answers[node] = at.answer(letter)
        # The work was done once; only the question's name is new, so that 1,000 faults take seconds.
        fields = dict(decode(answers[node]))
        told = json.loads(str(fields[HEAD])) | {"ask": head.ask}
        reply = encode({**fields, HEAD: json.dumps(told)})
        if node == 0 or rng.random() < 0.15:
            return reply
        what = rng.choice(list(BAD))
        tally[what] += 1
        honest[node] = what
        return BAD[what][0](reply)

    world.post.fate = chaos
    rounds = 0
    while sum(tally.values()) < faults:
        rounds += 1
        honest = dict.fromkeys(range(CLIENTS))
        replies = world.ask()
        good = [seat for seat, fault in honest.items() if fault is None]
        if replies.clients != good:
            # Votes about which fields a reply has can go against the honest when most others agree on a lie.
            assert {honest[seat] for seat in replies.clients} <= {"no adapter", "an extra field", None}
        for place, seat in enumerate(replies.clients):
            if honest[seat] is None and "adapter" in replies.fields:
                assert same(replies.adapter[place], truth[seat])
        assert sorted([*replies.clients, *world.reasons()]) == list(range(CLIENTS))
    assert len(tally) == len(BAD)


def test_versions_bases_and_seats_must_fit(tmp_path: Path) -> None:
    world = World(tmp_path)
    offered = world.roster._offered
    cases = {
        "runs Synoptic 9.9": offered.model_copy(update={"version": "9.9", "seats": (0,)}),
        "is 0123 at the server and": offered.model_copy(update={"base": "0123", "seats": (0,)}),
        "has 4 clients, the run 5": offered.model_copy(update={"clients": 5, "seats": (0,)}),
        "only there 'eleven'": offered.model_copy(update={"class_names": ("eleven",), "seats": (0,)}),
    }
    for why, wrong in cases.items():
        with pytest.raises(SynopticError, match=why):
            settle(Site(seats=(0,), of=CLIENTS), wrong)
