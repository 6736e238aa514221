from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from huggingface_hub import constants

from synoptic.experiment.doctor import hub
from synoptic.experiment.doctor.check import Check


def found(monkeypatch: pytest.MonkeyPatch, endpoint: str, offline: bool = False) -> Check:
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setenv("no_proxy", "*")
    (check,) = hub.HubCheck().result()
    return check


@pytest.fixture(params=[200, 404, 500])
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """Answers every question with one status."""

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(request.param)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    listening = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    listening.server_close()
    thread.join(10)


def test_whoever_answers_is_there(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check = found(monkeypatch, server)
    assert check == Check("hub", "fine", f"{server.removeprefix('http://')} answers")


def test_nobody_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        check = found(monkeypatch, f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert (check.status, check.fix) == ("note", hub.FIX)
    assert "cannot be reached" in check.found


def test_whoever_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "PATIENCE", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        check = found(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert check.status == "note"
    assert time.monotonic() - started < 5


def test_a_name_that_never_resolves_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    held = threading.Event()
    monkeypatch.setattr(hub, "PATIENCE", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: held.wait(20))
    check = found(monkeypatch, "http://hub.invalid")
    held.set()
    assert check == Check("hub", "note", "no answer in time", hub.FIX)


@pytest.mark.parametrize("endpoint", ["nonsense", "", "http://[", "http://x:port"])
def test_an_endpoint_that_is_none_is_a_note(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(monkeypatch, endpoint).status in ("note", "broken")


def test_offline_is_a_wish_and_not_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    check = found(monkeypatch, "http://hub.invalid", offline=True)
    assert (check.status, check.found) == ("absent", "offline, as HF_HUB_OFFLINE says")
