"""Claims on a terminal: a line for each suite's runs while they go, then a line for each verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from synoptic.experiment.claims.check import Checked, Outcome
from synoptic.experiment.claims.judge import STRADDLES
from synoptic.experiment.claims.text import bound_text, effect_text, interval_text, verdict_text
from synoptic.experiment.display.matrix import LineMatrix, LiveMatrix, MatrixWatcher

WIDE = 84
"""Columns from which on what the effect must be, and a paper's figure, stand in the table."""

STYLES = {"holds": "green", "fails": "red", "undecided": "yellow"}


class Lines(LineMatrix):
    """A heading for each suite and a line for each run that was missing."""

    def on_suite_started(self, event: dict[str, Any]) -> None:
        """What there is to do."""
        super().on_suite_started(event)
        self.say(f"suite {event['name']}: {len(self.names)} runs")

    def on_cell(self, event: dict[str, Any]) -> None:
        """Runs that were finished before need no line."""
        if event["status"] == "reused":
            MatrixWatcher.on_cell(self, event)
        else:
            super().on_cell(event)


def watcher(console: Console, quiet: bool) -> MatrixWatcher:
    """What suits the output: nothing if quiet, a live picture on a terminal, lines elsewhere."""
    if quiet:
        return MatrixWatcher()
    return LiveMatrix(console) if console.is_terminal and not console.is_dumb_terminal else Lines(console)


def show_verdicts(console: Console, checked: Checked) -> None:
    """A line for each claim, uncommon reasons for being undecided, and a summary."""
    wide = console.width >= WIDE
    figures = wide and any(outcome.claim.paper for outcome in checked.outcomes)
    interval = "95 % interval" if wide else "interval"
    table = _table(["", "claim", "effect", interval, *(["must be"] * wide), *(["paper"] * figures)])
    for outcome in checked.outcomes:
        claim, word = outcome.claim, outcome.verdict.word
        more = [bound_text(claim.parsed)] * wide + [str(claim.paper or "")] * figures
        table.add_row(Text(verdict_text(word), STYLES[word]), outcome.name, effect_text(outcome),
                      interval_text(outcome), *more)  # fmt: skip
    console.print()
    console.print(table)
    for outcome in checked.outcomes:
        if outcome.verdict.reason not in ("", STRADDLES):
            console.print(Text(f"{outcome.name}: {outcome.verdict.reason}", "dim"))
        if outcome.claim.paper is not None and not wide:
            console.print(Text(f"{outcome.name}: the paper has {outcome.claim.paper}", "dim"))
    console.print(Text(summary(checked.outcomes)))


def show_evaluated(console: Console, outcomes: Sequence[Outcome]) -> None:
    """Of the small version: which claims could be evaluated. Its numbers mean nothing."""
    table = _table(["", "claim", "effect"])
    for outcome in outcomes:
        good = outcome.evaluated
        table.add_row(Text("✓ evaluated" if good else "✗ not evaluated", "green" if good else "red"), outcome.name,
                      effect_text(outcome))  # fmt: skip
    console.print()
    console.print(table)
    console.print(Text(f"{sum(outcome.evaluated for outcome in outcomes)} of {len(outcomes)} claims can be evaluated; "
                       "the numbers are of the small version and mean nothing"))  # fmt: skip


def summary(outcomes: Sequence[Outcome]) -> str:
    """``9 of 12 claims hold, 2 do not, 1 is undecided``."""
    found = Counter(outcome.verdict.word for outcome in outcomes)
    total = len(outcomes)
    return (
        f"{found['holds']} of {total} claim{'s' * (total != 1)} hold{'s' * (found['holds'] == 1)}, {found['fails']} "
        f"{'does' if found['fails'] == 1 else 'do'} not, {found['undecided']} "
        f"{'is' if found['undecided'] == 1 else 'are'} undecided"
    )


def _table(names: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
    for name in names:
        left = name in ("", "claim")
        table.add_column(name, justify="left" if left else "right", no_wrap=name != "claim", overflow="fold")
    return table
