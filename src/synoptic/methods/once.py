"""Things that are made once for a workbench and kept as long as it is, because they are costly and never change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from synoptic.federation.bench import Bench

Made = TypeVar("Made")
# By the problem, of which every workbench has one of its own: a workbench compares by value, which costs too much.
_KEPT: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()


def once(bench: Bench, name: str, make: Callable[[], Made]) -> Made:
    """What ``make`` gives, made at the first call for this workbench and name.

    Args:
        bench: the workbench; what is made must not hold its problem.
        name: what it is; whatever it depends on beside the workbench must be in it.
        make: makes it.
    """
    kept = _KEPT.setdefault(bench.problem, {})
    if name not in kept:
        kept[name] = make()
    made: Made = kept[name]
    return made
