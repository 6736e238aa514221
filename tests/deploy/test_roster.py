from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks.deploy.loopback import Loopback

from rooms import VISION, bench, digits
from runs import small
from synoptic.deploy import roster as module
from synoptic.deploy.envelope import Ask
from synoptic.deploy.node import Node
from synoptic.deploy.policy import Policy
from synoptic.deploy.post import Presence
from synoptic.deploy.roster import Roster
from synoptic.deploy.site import Site
from synoptic.deploy.terms import Joined, Terms, Wish, terms_of

CLIENTS = 3


@pytest.fixture(scope="module")
def offered(tmp_path_factory: pytest.TempPathFactory) -> Terms:
    recipe = small(tmp_path_factory.mktemp("runs"), "fedavg")
    on = bench(digits(CLIENTS, 60), VISION)
    return terms_of(recipe, on.data, on.model.fingerprint, "run", 0, 2**24)


def node(folder: Path, *seats: int, of: int = CLIENTS, policy: Policy | None = None) -> Node:
    return Node(Site(seats=seats, of=of), policy or Policy(), folder / f"{seats}")


def meet(offered: Terms, nodes: dict[int, Node], names: tuple[str, ...] = ("a", "b", "c")) -> Roster:
    roster = Roster(Loopback(nodes), offered, names, "s", 20.0)
    look_until(roster, lambda: all(guest.stage not in ("hello", "begin") for guest in roster.guests.values()))
    return roster


def look_until(roster: Roster, done: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    roster.look()
    while not done() and time.monotonic() < until:
        roster.look()
        time.sleep(0.01)
    assert done()


def test_everybody_gets_the_seat_that_was_asked_for(offered: Terms, tmp_path: Path) -> None:
    roster = meet(offered, {10: node(tmp_path, 2), 11: node(tmp_path, 0, 1)})
    assert {seat: guest.node for seat, guest in roster.homes.items()} == {0: 11, 1: 11, 2: 10}


def test_a_site_is_told_its_own_name_and_nobody_else_s(offered: Terms, tmp_path: Path) -> None:
    said: list[str] = []
    told: list[Terms] = []

    class Listening(Node):
        def _begin(self, head: Ask, offer: str) -> Joined:
            told.append(Terms.model_validate_json(offer))
            return super()._begin(head, offer)

    meet(offered, {0: Listening(Site(), Policy(), tmp_path, said.append)}, ("site-1", "site-0", "x"))
    assert said[0].startswith("joined as site-0 (clients: 3): fedavg, 4 rounds, ")
    assert told[0].names == ("site-0",)


def test_a_key_names_its_seat(offered: Terms, tmp_path: Path) -> None:
    named = ("site-1", "site-0", "x")
    roster = meet(offered, {0: node(tmp_path), 1: node(tmp_path, 1)}, named)
    assert {seat: guest.node for seat, guest in roster.homes.items()} == {1: 0}
    assert roster.refusals() == ["site-1: the key 'site-1' is of client 0, not of [1]; join without --partition"]


def test_a_taken_seat_is_waited_for_and_had_when_it_is_free(offered: Terms, tmp_path: Path) -> None:
    nodes = {0: node(tmp_path / "old", 1)}
    roster = meet(offered, nodes)
    roster.post.there[5] = node(tmp_path / "new", 1)  # type: ignore[attr-defined]
    roster.post.presence[5] = Presence("site-5")  # type: ignore[attr-defined]
    look_until(roster, lambda: 5 in roster.guests and roster.guests[5].stage == "waiting")
    assert roster.homes[1].node == 0
    del roster.post.there[0]  # type: ignore[attr-defined]
    look_until(roster, lambda: 1 in roster.homes and roster.homes[1].node == 5)


def test_a_seat_that_stays_taken_is_refused_to_both_sides(
    offered: Terms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HELD", 0.2)
    second = node(tmp_path / "b", 1)
    roster = meet(offered, {0: node(tmp_path / "a", 1), 1: second})
    look_until(roster, lambda: second.ended is not None)
    assert "client 1 is taken" in roster.refusals()[0] and "client 1 is taken" in str(second.ended)


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (Policy(methods=("local",)), "allows the methods local, and was asked for fedavg"),
        (Policy(max_rounds=1), "allows 1 rounds, and was asked for 4"),
        (Policy(min_examples=10_000), "takes part with at least 10000 examples"),
    ],
)
def test_a_site_that_takes_no_part_says_why(offered: Terms, tmp_path: Path, policy: Policy, why: str) -> None:
    roster = meet(offered, {0: node(tmp_path, 0, policy=policy)})
    assert why in roster.refusals()[0] and roster.homes == {}
    assert why in roster.why_empty(0)


def test_another_version_is_refused_with_both(offered: Terms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Site, "wish", property(lambda self: Wish(version="0.0.9")))
    roster = meet(offered, {0: node(tmp_path, 0)})
    assert "the node runs Synoptic 0.0.9, this side" in roster.refusals()[0]


def test_a_node_that_says_nothing_is_refused(offered: Terms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GREETING", 0.2)
    post = Loopback({0: node(tmp_path, 0)}, fate=lambda number, letter, at: None)
    roster = Roster(post, offered, ("a", "b", "c"), "s", 20.0)
    look_until(roster, lambda: bool(roster.refusals()))
    assert roster.refusals() == ["site-0: no answer to 'hello' in time"]
