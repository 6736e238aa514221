"""The units and the compose file of the docs: they parse, and every command in them is one that people can type."""

from __future__ import annotations

import configparser
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main
import yaml

from synoptic.cli import app

FILES = Path(__file__).parents[2] / "docs" / "deploy" / "files"
UNITS = sorted(FILES.glob("*.service"))


def unit(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(path.read_text())
    return parser


def services() -> dict[str, Any]:
    return dict(yaml.safe_load((FILES / "compose.yaml").read_text())["services"])


def parsed(words: list[str]) -> dict[str, Any]:
    """What a command is given; it fails if there is no such option."""
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group)
    command = group.commands[words[0]]
    return dict(command.make_context(words[0], words[1:]).params)


@pytest.mark.parametrize("path", UNITS, ids=[path.name for path in UNITS])
def test_units_parse_and_start_what_there_is(path: Path) -> None:
    told = unit(path)
    assert told.sections() == ["Unit", "Service", "Install"]
    program, *words = shlex.split(told["Service"]["ExecStart"])
    assert program == "/opt/synoptic/bin/synoptic" and parsed(words)
    assert f"/{path.name}" in path.read_text().splitlines()[0]
    # Ctrl-C's status, with which a stopped service ends.
    assert told["Service"]["SuccessExitStatus"] == "130"


def test_a_unit_for_the_server_and_one_for_a_node() -> None:
    started = [shlex.split(unit(path)["Service"]["ExecStart"])[1] for path in UNITS]
    assert sorted(started) == ["join", "serve"]


def test_what_containers_are_told_lies_where_they_are_told() -> None:
    found = services()
    assert sorted(found) == ["node", "server"]
    for name, service in found.items():
        words = shlex.split(service["command"])
        given = parsed(words)
        assert service["profiles"] == [name]
        inside = {Path(mount.split(":")[1]).relative_to("/srv/synoptic").parts[0] for mount in service["volumes"]}
        flat = [one for value in given.values() for one in (value if isinstance(value, tuple) else [value])]
        paths = {one.parts[0] for one in flat if isinstance(one, Path)}
        assert paths <= inside, f"{name} is told of {paths - inside}, which no volume holds"


def test_the_image_has_what_nodes_need() -> None:
    text = (FILES / "Dockerfile").read_text()
    assert 'pip install --no-cache-dir "synoptic[deploy]"' in text and 'ENTRYPOINT ["synoptic"]' in text
