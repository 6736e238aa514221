from __future__ import annotations

import pytest

from synoptic.core import SynopticError
from synoptic.deploy.address import parse_address


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("127.0.0.1:8000", ("127.0.0.1", 8000)),
        ("fl.example.org:0", ("fl.example.org", 0)),
        ("[::1]:65535", ("::1", 65535)),
    ],
)
def test_host_and_port_are_read(text: str, read: tuple[str, int]) -> None:
    assert parse_address(text, "--listen") == read


@pytest.mark.parametrize(
    "text", ["", "8000", ":8000", "host", "host:", "host:65536", "host:-1", "host:²", "http://h:1"]
)
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(SynopticError, match="is not a host and a port"):
        parse_address(text, "--listen")
