"""One kind of error for whatever a user can mend: what is wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches

_SHOWN = 10
"""Names that an error lists."""


class SynopticError(Exception):
    """Something a user can mend. The message is one sentence that says what, where, and what to do.

    Args:
        what: what is wrong and where, without a full stop at the end.
        fix: what to do about it, without a full stop at the end.
    """

    def __init__(self, what: str, fix: str = "") -> None:
        self.what = what
        self.fix = fix
        sentence = f"{what}; {fix}" if fix else what
        super().__init__(sentence if sentence.endswith("?") else f"{sentence}.")


def nearest(word: str, known: Iterable[str]) -> str:
    """A suggestion for a misspelt word: the closest known one, or the whole list.

    >>> nearest("fedavgg", ["fedavg", "local"])
    "did you mean 'fedavg'?"
    """
    names = sorted(known)
    close = get_close_matches(word, names, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"choose one of: {', '.join(names)}"


def listing(names: Collection[str]) -> str:
    """How many there are, and the first of them: ``12: a, b, ... and 2 more``."""
    first = ", ".join(sorted(names)[:_SHOWN])
    return f"{len(names)}: {first}" + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
