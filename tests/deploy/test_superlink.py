"""Over real sockets, on this machine only. Nodes are threads here; `test_processes` has them as processes."""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runs import small
from synoptic.core import SynopticError
from synoptic.deploy import flower
from synoptic.deploy.connection import Connection, Incoming, Refused
from synoptic.deploy.keys import make_keys, read_clients, read_key
from synoptic.deploy.node import Node
from synoptic.deploy.policy import Policy
from synoptic.deploy.post import Arrived
from synoptic.deploy.resident import Door, stay
from synoptic.deploy.session import Hall, serve
from synoptic.deploy.site import Site
from synoptic.deploy.superlink import SuperLink, Tls
from synoptic.experiment.runner import run

WAIT = 60.0


class Alone(Node):
    """Processes do not share a base as threads do: here one node works at a time."""

    turn = threading.Lock()

    def answer(self, content: bytes) -> bytes:
        with self.turn:
            return super().answer(content)


class Resident(threading.Thread):
    """`synoptic join` as a thread."""

    def __init__(self, door: Door, site: Site, folder: Path, patience: float = WAIT) -> None:
        super().__init__(daemon=True)
        self.said: list[str] = []
        self.ended: str | None = None
        self.error: BaseException | None = None
        self._work = (door, Alone(site, Policy(), folder, self.said.append), patience, self.said.append)
        self.start()

    def run(self) -> None:
        try:
            self.ended = stay(*self._work)
        except BaseException as error:
            self.error = error


class Echo(threading.Thread):
    """A node that sends back what it gets."""

    def __init__(self, door: Door) -> None:
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self._door = door
        self.start()

    def run(self) -> None:
        with Connection(self._door.address, self._door.ca, self._door.key, self._door.insecure) as line:
            while not self.ended.wait(0.003):
                letter = line.receive()
                if letter is not None:
                    line.reply(letter, letter.content or b"")


@contextmanager
def echoing(link: SuperLink, door: Door | None = None) -> Iterator[int]:
    """A node that is there, as its address."""
    node = Echo(door or Door(f"127.0.0.1:{link.port}", insecure=True))
    until = time.monotonic() + WAIT
    while not link.nodes() and time.monotonic() < until:
        time.sleep(0.01)
    (address,) = link.nodes()
    yield address
    node.ended.set()
    node.join(WAIT)
    assert not node.is_alive()


def back(link: SuperLink, address: int, content: bytes) -> Arrived:
    """What comes back for one letter."""
    (ticket,) = link.send([(address, content)], WAIT)
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        if arrived := link.collect([ticket]):
            return arrived[0]
        time.sleep(0.003)
    raise AssertionError("nothing came back")


def recipe(output: Path, *changes: str) -> Any:
    return small(output, "fedavg", "federation.stack=1", "rounds=2", *changes)


def test_three_resident_nodes_over_plain_sockets_end_where_one_process_does(tmp_path: Path) -> None:
    here = run(recipe(tmp_path / "here"))
    with SuperLink("127.0.0.1", 0) as link:
        door = Door(f"127.0.0.1:{link.port}", insecure=True)
        nodes = [Resident(door, Site(seats=(seat,), of=3), tmp_path / str(seat)) for seat in range(3)]
        there = serve(recipe(tmp_path / "there"), Hall(link, patience=WAIT))
        for node in nodes:
            node.join(WAIT)
            assert (node.ended, node.error) == ("", None)
    assert there.summary["final_hash"] == here.summary["final_hash"]
    assert there.summary["bytes"] == here.summary["bytes"]


def test_tls_and_node_keys(tmp_path: Path) -> None:
    """Two known nodes do the run; a stranger, a node without a key, plain text and a wrong authority stay outside."""
    make_keys(tmp_path, ["localhost", "127.0.0.1"], ["north", "south", "stranger"])
    (tmp_path / "clients" / "stranger.pub").unlink()
    keys = read_clients(tmp_path / "clients")
    with SuperLink("127.0.0.1", 0, Tls(tmp_path / "server.crt", tmp_path / "server.key"), keys) as link:
        address = f"localhost:{link.port}"
        ca = tmp_path / "ca.crt"

        def key(name: str) -> bytes:
            return read_key(tmp_path / "sites" / f"{name}.key")

        stranger = Resident(Door(address, ca, key("stranger")), Site(seats=(0,), of=2), tmp_path / "x")
        stranger.join(WAIT)
        assert isinstance(stranger.error, Refused) and "does not know this node's key" in str(stranger.error)
        with pytest.raises(Refused, match="takes only nodes with a key"), Connection(address, ca, None, False):
            pass
        with (
            pytest.raises(Refused, match=r"not to be trusted \(.*\); give --ca"),
            Connection(address, None, key("north"), False),
        ):
            pass
        with pytest.raises(SynopticError, match=r"no server at .* for 0 s"):
            stay(Door(address, insecure=True), Node(Site(), Policy(), tmp_path), 0)
        nodes = [Resident(Door(address, ca, key(name)), Site(seats=(seat,), of=2), tmp_path / name)
                 for seat, name in enumerate(["north", "south"])]  # fmt: skip
        changed = recipe(tmp_path / "there", "data.clients=2")
        there = serve(changed, Hall(link, names=tuple(keys), patience=WAIT))
        for node in nodes:
            node.join(WAIT)
            assert (node.ended, node.error) == ("", None)
    assert list(there.summary["clients"]) == ["north", "south"]
    assert there.summary["final_hash"] == run(recipe(tmp_path / "here", "data.clients=2")).summary["final_hash"]


def test_an_expired_certificate_is_told_by_the_node(tmp_path: Path) -> None:
    make_keys(tmp_path, ["localhost"], ["north"], days=-1)
    make_keys(tmp_path / "new", ["localhost"], [])
    keys = read_clients(tmp_path / "clients")
    with SuperLink("127.0.0.1", 0, Tls(tmp_path / "server.crt", tmp_path / "server.key"), keys) as link:
        door = (f"localhost:{link.port}", tmp_path / "ca.crt", read_key(tmp_path / "sites" / "north.key"), False)
        with pytest.raises(Refused, match="expired"), Connection(*door):
            pass


@pytest.mark.parametrize(("seconds", "taken"), [(-280, True), (-320, False), (60, False), (-86_400, False)])
def test_a_node_s_clock_may_be_behind(
    seconds: int, taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Letters that are void long ago by the node's clock arrive all the same: the server's clock counts."""
    make_keys(tmp_path, ["localhost"], ["north"])
    keys = read_clients(tmp_path / "clients")
    wrong = lambda: datetime.now(UTC) + timedelta(seconds=seconds)  # noqa: E731
    monkeypatch.setattr("flwr.supernode.node_auth_http_interceptor.now", wrong)
    with SuperLink("127.0.0.1", 0, Tls(tmp_path / "server.crt", tmp_path / "server.key"), keys) as link:
        door = Door(f"localhost:{link.port}", tmp_path / "ca.crt", read_key(tmp_path / "sites" / "north.key"))
        if taken:
            with echoing(link, door) as address:
                assert back(link, address, b"x").content == b"x"
            return
        with pytest.raises(Refused, match="five minutes behind the server's, and five seconds ahead"):
            stay(door, Node(Site(), Policy(), tmp_path), 0)


def test_a_reply_says_nothing_of_the_node_s_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    message = flower.new_message(1, 2, b"x", 30.0)
    monkeypatch.setattr(flower, "now", lambda: datetime.now(UTC) + timedelta(hours=5))
    asked, replied = message.metadata, flower.reply_to(message, b"y").metadata
    assert replied.created_at + replied.ttl == asked.created_at + asked.ttl


def test_a_reply_that_comes_late_or_twice_reaches_nobody(tmp_path: Path) -> None:
    """The node learns nothing of it and goes on; the next letter is answered."""
    with SuperLink("127.0.0.1", 0) as link, Connection(f"127.0.0.1:{link.port}", None, None, True) as line:
        (address,) = link.nodes()

        def fetched() -> Incoming:
            while (letter := line.receive()) is None:
                time.sleep(0.005)
            return letter

        (late,) = link.send([(address, b"late")], WAIT)
        letter = fetched()
        link.forget([late])
        line.reply(letter, b"late")
        (void,) = link.send([(address, b"void")], 0.5)
        letter = fetched()
        time.sleep(0.6)
        line.reply(letter, b"void")
        assert not [one for one in link.collect([late, void]) if one.content]
        (ticket,) = link.send([(address, b"asked")], WAIT)
        letter = fetched()
        line.reply(letter, b"first")
        line.reply(letter, b"second")
        assert [one.content for one in link.collect([ticket])] == [b"first"]
        line.reply(letter, b"third")
        assert not [one for one in link.collect([ticket]) if one.content]
        (ticket,) = link.send([(address, b"next")], WAIT)
        line.reply(fetched(), b"next")
        assert [one.content for one in link.collect([ticket])] == [b"next"]


def test_letters_of_any_size_come_back(tmp_path: Path) -> None:
    with SuperLink("127.0.0.1", 0) as link, echoing(link) as address:
        for size in (0, 1, 10_000, 12_000_000):
            assert back(link, address, bytes(size)).content == bytes(size)


def test_a_reply_above_the_limit_is_a_reason(tmp_path: Path) -> None:
    with SuperLink("127.0.0.1", 0, largest=50_000) as link, echoing(link) as address:
        assert back(link, address, bytes(40_000)).content == bytes(40_000)
        assert re.search("has 5.* bytes; at most 50000", back(link, address, bytes(51_000)).reason)


def test_a_server_that_went_away_is_found_again_by_its_nodes(tmp_path: Path) -> None:
    with SuperLink("127.0.0.1", 0) as link:
        port = link.port
        node = Resident(Door(f"127.0.0.1:{port}", insecure=True), Site(seats=(0, 1, 2), of=3), tmp_path / "site")
        until = time.monotonic() + WAIT
        while not link.nodes() and time.monotonic() < until:
            time.sleep(0.01)
    with SuperLink("127.0.0.1", port) as link:
        serve(recipe(tmp_path / "there"), Hall(link, patience=WAIT))
        node.join(WAIT)
    assert (node.ended, node.error) == ("", None)
    assert any("trying again" in sentence for sentence in node.said)


def test_a_taken_port_is_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SynopticError, match="cannot listen on"):
            SuperLink("127.0.0.1", taken.getsockname()[1])


def test_the_door_is_the_only_one() -> None:
    """No app can be started and no node registered by whoever reaches the port; bodies without a size are refused."""
    with SuperLink("127.0.0.1", 0, keys={}) as link:
        for path, headers, status in [
            ("/v1/control/start-run", {"content-length": "0"}, 404),
            ("/v1/control/register-node", {"content-length": "0"}, 404),
            ("/v1/runtime/push-messages", {"content-length": "0"}, 404),
            ("/docs", {"content-length": "0"}, 404),
            ("/v1/fleet/push-object", {"content-length": str(2**40)}, 413),
            ("/v1/fleet/push-object", {"transfer-encoding": "chunked"}, 411),
        ]:
            line = http.client.HTTPConnection("127.0.0.1", link.port, timeout=WAIT)
            line.request("POST", path, headers={**headers, "content-type": "application/protobuf"})
            assert (path, line.getresponse().status) == (path, status)
            line.close()


def test_plain_text_is_for_this_machine(tmp_path: Path) -> None:
    with pytest.raises(SynopticError, match="--insecure is for this machine only, and"):
        Door("10.0.0.1:8000", insecure=True)
