"""The installed methods, described by their own classes."""

from __future__ import annotations

from dataclasses import dataclass

from synoptic.core.errors import SynopticError
from synoptic.experiment.keys import Key, keys
from synoptic.methods.base import load_method, registry


@dataclass(frozen=True)
class MethodRow:
    """One method: its name, a line about it, and its own settings."""

    name: str
    summary: str
    settings: tuple[Key, ...]


def methods_table() -> list[MethodRow]:
    """All installed methods by name; one that cannot be imported says so in its line."""
    return [_row(name) for name in registry()]


def _row(name: str) -> MethodRow:
    try:
        method = load_method(name)
    except SynopticError as error:
        return MethodRow(name, str(error), ())
    return MethodRow(name, method.summary, tuple(keys(method.Settings, "method.", off=True)))
