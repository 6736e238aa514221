from __future__ import annotations

from pathlib import Path

import pytest

from synoptic.cli import main
from synoptic.cli.app import INTERRUPTED

ERROR = 2


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["serve"], "give either a RECIPE"),
        (["serve", "fedavg"], "or --insecure on this machine"),
        (["serve", "fedavg", "--insecure", "--clients", "x"], "or --insecure on this machine"),
        (["serve", "fedavg", "--clients", "x"], "a server needs both --tls CERT KEY and --clients FOLDER"),
        (["serve", "fedavg", "--insecure", "--listen", "0.0.0.0:8000"], "--insecure listens on this machine only"),
        (["serve", "fedavg", "--insecure", "--listen", "8000"], "write it like 127.0.0.1:8000"),
        (["serve", "fedavg", "--insecure", "--listen", "127.0.0.1:99999"], "is not a host and a port"),
        (["serve", "fedavg", "--insecure", "--listen", "http://localhost:80"], "is not a host and a port"),
        (["serve", "fedavgg", "--insecure"], "did you mean 'fedavg'?"),
        (["join", "127.0.0.1:1", "--insecure"], "give either --data WHAT, or --partition K/N"),
        (["join", "127.0.0.1:1", "--partition", "0/3"], "give --key FILE"),
        (["join", "127.0.0.1:1", "--partition", "3/3", "--insecure"], "--partition 3/3 is no part of a whole"),
        (["join", "10.0.0.1:1", "--partition", "0/3", "--insecure"], "--insecure is for this machine only"),
        (["join", "127.0.0.1:1", "--partition", "0/3", "data.label=x", "--insecure"], "settings have no place"),
        (["join", "127.0.0.1:1", "--partition", "0/3", "--key", "nowhere.key"], "there is no file nowhere.key"),
        (["join", "127.0.0.1", "--partition", "0/3", "--insecure"], "127.0.0.1 is not a host and a port"),
        (["serve", "fedavg", "--tls", "no.crt", "no.key", "--clients", "x"], "there is no file no.crt"),
        (["serve", "fedavg", "--insecure", "--ca", "x"], "or --insecure on this machine"),
        (["join", "127.0.0.1:1", "--data", "nowhere/photos", "--insecure"], "no folder or parquet file nowhere"),
        (["keys", "k", "--days", "0"], "0 is less than 1"),
        (["keys", "k", "--days", "99999999"], "cannot last 99999999 days"),
        (["keys", "k", "--host", "https://fl.example.org"], "is no name or address"),
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


def test_keys_made_again_say_so_and_a_host_that_is_missing_is_not_passed_over(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    keys = ["keys", str(tmp_path / "keys")]
    assert main([*keys, "--host", "fl.example.org", "--host", "10.0.0.1"]) == 0
    assert main(keys) == main([*keys, "--host", "10.0.0.1"]) == 0
    assert "nothing to write" in capsys.readouterr().out
    assert main([*keys, "--host", "other.example.org"]) == ERROR
    assert "for fl.example.org, 10.0.0.1 and not for other.example.org" in capsys.readouterr().err


def test_a_server_interrupted_before_its_run_began_names_no_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("synoptic.deploy.session.serve", interrupted)
    assert main(["serve", "fedavg", "--insecure", "--listen", "127.0.0.1:0"]) == INTERRUPTED
    told = capsys.readouterr().err
    assert "stopped; the run had not begun" in told and "None" not in told


def test_a_run_that_cannot_go_on_is_refused_before_anybody_is_let_in(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["serve", "--resume", "nope", "--insecure", "--listen", "127.0.0.1:0"]) == ERROR
    told = capsys.readouterr().err
    assert "there is no run folder nope" in told and "listening" not in told


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
