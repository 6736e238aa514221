"""One finding about this machine or installation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Status = Literal["fine", "note", "broken", "absent"]


@dataclass(frozen=True)
class Check:
    """What was looked at, and what was found.

    Attributes:
        name: a word or two.
        status: ``fine``; ``note``: works, but not as well as it might; ``broken``: something will not work; ``absent``:
            not there, and nothing needs it.
        found: what is there.
        fix: what to do about it; empty where all is fine.
    """

    name: str
    status: Status
    found: str
    fix: str = ""


Look = Callable[[], Iterable[Check]]


def carefully(name: str, look: Look) -> Iterator[Check]:
    """The checks of one look; a look that fails is a finding itself, because a doctor must not faint."""
    try:
        yield from look()
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        yield Check(name, "broken", f"could not be looked at ({type(error).__name__}: {reason})",
                    "install synoptic and its packages again")  # fmt: skip
