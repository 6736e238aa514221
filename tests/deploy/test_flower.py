from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

from packaging.specifiers import SpecifierSet

from synoptic.deploy import flower

ROOT = Path(__file__).parents[2]


def test_the_pinned_range_is_the_one_whose_names_are_used() -> None:
    """Private names hold for one minor version: whoever widens the range looks at `synoptic.deploy.flower` first."""
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["deploy"]
    (pin,) = [requirement for requirement in extra if requirement.startswith("flwr")]
    allowed = SpecifierSet(pin.removeprefix("flwr"))
    assert version("flwr") in allowed
    assert "1.40.9" not in allowed and "1.42.0" not in allowed
    assert all(hasattr(flower, name) for name in flower.__all__)


def test_nothing_else_imports_flower() -> None:
    users = set()
    for path in (ROOT / "src").rglob("*.py"):
        if re.search(r"^\s*(from|import) flwr\b", path.read_text(), re.MULTILINE):
            users.add(path.name)
    assert users == {"flower.py"}


def test_a_letter_is_three_objects() -> None:
    """Every object is a request of its own; an array of bytes would make five."""
    message = flower.new_message(1, 2, b"x" * 10, 5.0)
    assert len(flower.get_all_nested_objects(message)) == 3
    assert flower.packed(message) == b"x" * 10
    assert flower.packed(flower.reply_to(message, b"y")) == b"y"
