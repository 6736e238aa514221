"""Where a server is: a host and a port, as people write them."""

from __future__ import annotations

from synoptic.core import SynopticError

LARGEST_PORT = 65535


def parse_address(text: str, what: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``; an IPv6 host stands in brackets, ``[::1]:8000``.

    Args:
        text: what somebody wrote.
        what: where, for the error.

    Raises:
        SynopticError: no host, or no port that there can be.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or "/" in host or not (port.isascii() and port.isdigit() and int(port) <= LARGEST_PORT):
        raise SynopticError(f"{what} {text} is not a host and a port", "write it like 127.0.0.1:8000")
    return host, int(port)
