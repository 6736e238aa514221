"""Tables between marks in a page that people write: only what stands between them is written by commands."""

from __future__ import annotations

from collections.abc import Sequence

from synoptic.experiment.comparison.statistics import estimate


def between(page: str, begin: str, end: str, lines: Sequence[str]) -> str:
    """The page with these lines between its marks."""
    head, _, rest = page.partition(begin)
    _, _, tail = rest.partition(end)
    return head + begin + "\n".join(["", *lines, ""]) + "\n" + end + tail


def percent(values: Sequence[float]) -> str:
    """Mean and half of a 95 % t-interval of shares, in per cent."""
    found = estimate([100 * value for value in values])
    return f"{found.mean:.1f} ± {found.half:.1f}"
