"""A resident node: one process that signs in, answers letter after letter, and signs in again when the line breaks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from synoptic.core import SynopticError
from synoptic.deploy.address import parse_address
from synoptic.deploy.connection import Connection, Disconnected
from synoptic.deploy.node import Node

PAUSE = 0.003
LONGEST_PAUSE = 0.05
"""Seconds between looks for letters: short after one came, longer while none does."""

RETRY = 0.5
LONGEST_RETRY = 10.0
"""Seconds between attempts to sign in."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Door:
    """How a server is reached.

    Attributes:
        address: host and port.
        ca: file of the certificates to trust; None for the system's.
        key: this node's private key (PEM); None where the server lets anybody in.
        insecure: speak plain text.
    """

    address: str
    ca: Path | None = None
    key: bytes | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        host, _ = parse_address(self.address, "the server's address")
        if self.insecure and host not in ("127.0.0.1", "localhost", "::1"):
            raise SynopticError(f"--insecure is for this machine only, and {host} is another",
                                "give --ca and --key; `synoptic keys` makes some")  # fmt: skip
        if self.insecure and self.ca is not None:
            raise SynopticError("--insecure and --ca exclude each other", "leave --insecure out")


def stay(door: Door, node: Node, patience: float, say: Say = lambda sentence: None) -> str:
    """Answer letters until the server needs this node no longer.

    Args:
        door: to the server.
        node: who answers.
        patience: seconds without a server after which to give up.
        say: told what a person at the site should know.

    Returns:
        What the server said at the end; empty when the run is finished.

    Raises:
        SynopticError: the server lets this node not in, or was not to be reached for ``patience`` seconds.
    """
    since, pause = time.monotonic(), RETRY
    while True:
        try:
            with Connection(door.address, door.ca, door.key, door.insecure) as line:
                say(f"signed in at {door.address}")
                pause = RETRY
                _answer(line, node)
                return node.ended or ""
        except Disconnected as error:
            if pause == RETRY:
                say(f"{error}; trying again for {patience:g} s")
                since = time.monotonic()
            if time.monotonic() - since > patience:
                raise SynopticError(f"no server at {door.address} for {patience:g} s ({error})",
                                    "check the address, and that `synoptic serve` runs there") from error  # fmt: skip
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_RETRY)


def _answer(line: Connection, node: Node) -> None:
    pause = PAUSE
    while node.ended is None:
        letter = line.receive()
        if letter is None:
            time.sleep(pause)
            pause = min(pause * 1.3, LONGEST_PAUSE)
            continue
        line.reply(letter, node.answer(letter.content or b""))
        pause = PAUSE
