from __future__ import annotations

import stat
from pathlib import Path

import pytest

from synoptic.core import SynopticError
from synoptic.deploy.keys import check_certificate, make_keys, read_clients, read_key


def test_what_is_made_fits_together_and_is_for_nobody_else_s_eyes(tmp_path: Path) -> None:
    written = make_keys(tmp_path, ["localhost", "127.0.0.1"], ["north", "south"])
    assert len(written) == 8
    check_certificate(tmp_path / "server.crt", tmp_path / "server.key")
    assert list(read_clients(tmp_path / "clients")) == ["north", "south"]
    assert b"PRIVATE" in read_key(tmp_path / "sites" / "north.key")
    for path in tmp_path.rglob("*.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_sites_are_added_and_nothing_is_replaced(tmp_path: Path) -> None:
    make_keys(tmp_path, ["localhost"], ["north"])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path.name for path in make_keys(tmp_path, ["localhost"], ["north", "west"])} == {"west.key", "west.pub"}
    assert all(path.read_bytes() == content for path, content in before.items())


def test_bad_files_are_sentences(tmp_path: Path) -> None:
    make_keys(tmp_path, ["localhost"], ["north"], days=-1)
    with pytest.raises(SynopticError, match="ended on"):
        check_certificate(tmp_path / "server.crt", tmp_path / "server.key")
    other = tmp_path / "other"
    make_keys(other, ["localhost"], [])
    with pytest.raises(SynopticError, match="is not the key of"):
        check_certificate(other / "server.crt", other / "ca.key")
    with pytest.raises(SynopticError, match="is no certificate"):
        check_certificate(other / "server.key", other / "server.key")
    with pytest.raises(SynopticError, match="is no private key"):
        read_key(tmp_path / "clients" / "north.pub")
    with pytest.raises(SynopticError, match="holds no public key"):
        read_clients(tmp_path / "sites")
    with pytest.raises(SynopticError, match="cannot be a site's name"):
        make_keys(tmp_path, ["localhost"], ["../north"])


def test_a_server_sees_whether_its_nodes_authority_issued_its_certificate(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_keys(tmp_path / name, ["localhost"], [])
    server, key = tmp_path / "one" / "server.crt", tmp_path / "one" / "server.key"
    check_certificate(server, key, tmp_path / "one" / "ca.crt")
    with pytest.raises(SynopticError, match=r"was not issued by .*two.ca\.crt, so nodes that trust it would not"):
        check_certificate(server, key, tmp_path / "two" / "ca.crt")
    both = tmp_path / "both.crt"
    both.write_bytes(b"".join((tmp_path / name / "ca.crt").read_bytes() for name in ("two", "one")))
    check_certificate(server, key, both)
    with pytest.raises(SynopticError, match="there is no file"):
        check_certificate(server, key, tmp_path / "nowhere.crt")
