from __future__ import annotations

from pathlib import Path

import pytest

from synoptic.cli import main

ERROR = 2


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["serve"], "give either a RECIPE"),
        (["serve", "fedavg"], "or --insecure on this machine"),
        (["serve", "fedavg", "--insecure", "--clients", "x"], "or --insecure on this machine"),
        (["serve", "fedavg", "--clients", "x"], "a server needs both --tls CERT KEY and --clients FOLDER"),
        (["serve", "fedavg", "--insecure", "--listen", "0.0.0.0:8000"], "--insecure listens on this machine only"),
        (["serve", "fedavg", "--insecure", "--listen", "8000"], "write it like 0.0.0.0:8000"),
        (["serve", "fedavgg", "--insecure"], "did you mean 'fedavg'?"),
        (["join", "127.0.0.1:1", "--insecure"], "give either --data WHAT, or --partition K/N"),
        (["join", "127.0.0.1:1", "--partition", "0/3"], "give --key FILE"),
        (["join", "127.0.0.1:1", "--partition", "3/3", "--insecure"], "--partition 3/3 is no part of a whole"),
        (["join", "10.0.0.1:1", "--partition", "0/3", "--insecure"], "--insecure is for this machine only"),
        (["join", "127.0.0.1:1", "--partition", "0/3", "data.label=x", "--insecure"], "settings have no place"),
        (["join", "127.0.0.1:1", "--partition", "0/3", "--key", "nowhere.key"], "nowhere.key is no private key"),
        (["join", "127.0.0.1:1", "--partition", "0/3", "--insecure", "--policy", "no.yaml"], "no.yaml"),
        (["join", "127.0.0.1:1", "--partition", "0/3", "--insecure", "--patience", "0"], "no server at 127.0.0.1:1"),
        (["keys", "k", "--site", "../up"], "cannot be a site's name"),
        (["status", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == ERROR
    told = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert why in told and "Traceback" not in told


def test_keys_says_what_it_wrote(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["keys", str(tmp_path / "keys"), "--site", "north"]) == 0
    names = {Path(line.removeprefix("written: ")).name for line in capsys.readouterr().out.splitlines()}
    assert names == {"ca.key", "ca.crt", "server.key", "server.crt", "north.key", "north.pub"}


def test_without_flower_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["keys", "k"]) == ERROR
    assert "pip install 'synoptic[deploy]'" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["serve", "join", "keys", "status"])
def test_help_is_written(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert "Usage: synoptic" in capsys.readouterr().out
