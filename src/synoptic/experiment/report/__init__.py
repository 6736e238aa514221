"""One self-contained HTML page about one run, or about a comparison of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synoptic.experiment.comparison.groups import Group

__all__ = ["write_report"]


def write_report(
    groups: Sequence[Group], out: Path, *, title: str = "", baseline: str | None = None, metrics: Sequence[str] = (),
    claims: Sequence[Mapping[str, Any]] = (), unfinished: Sequence[str] = (), examples: bool = True,
) -> Path:  # fmt: skip
    """Write the page; the same runs give the same bytes.

    Args:
        groups: what was run. Each condition has its own part of the page; runs that are not finished show their curves
            and stay out of the tables.
        out: the HTML file.
        title: of the page; made from the methods and the data when left out.
        baseline: label of the group that others are compared with; the first of each condition when left out.
        metrics: further measures by name, for tables and curves.
        claims: rows of a claims file: ``id, statement, source, verdict`` (holds, fails, undecided), ``effect, low,
            high, seeds, suite_hash, data`` and perhaps ``paper``.
        unfinished: sentences about whatever has no result, shown as they are.
        examples: whether base and data are opened again to show pictures with predictions.

    Returns:
        ``out``.

    Raises:
        SynopticError: nothing to report, an unknown baseline or metric, a claim without verdict, or a place that
            cannot be written.
    """
    from synoptic.experiment.report.page import Request, write

    asked = Request(tuple(groups), title, baseline, tuple(metrics), tuple(claims), tuple(unfinished), examples)
    return write(asked, out)
