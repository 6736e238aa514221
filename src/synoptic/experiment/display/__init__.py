"""What a person sees of a run: observers of its events, and tables at its end.

>>> from rich.console import Console
>>> with watch(Console(), quiet=False) as watcher:  # doctest: +SKIP
...     result = run(recipe, [watcher])
"""

from __future__ import annotations

from rich.console import Console

from synoptic.experiment.display.live import LiveWatcher
from synoptic.experiment.display.tables import show_clients, show_methods, show_result
from synoptic.experiment.display.watcher import LineWatcher, Watcher

__all__ = ["LineWatcher", "LiveWatcher", "Watcher", "output", "show_clients", "show_methods", "show_result", "watch"]


def output() -> Console:
    """Standard output, with names printed as they are: brackets and colons in a class name are no markup."""
    return Console(markup=False, emoji=False, highlight=False)


def watch(console: Console, quiet: bool, cohorts: bool = True) -> Watcher:
    """The watcher that suits the output: nothing if quiet, a live picture on a terminal, lines elsewhere.

    Args:
        console: the output.
        quiet: whether to show nothing.
        cohorts: whether clients at work are told, see `LiveWatcher`.
    """
    if quiet:
        return Watcher()
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveWatcher(console, cohorts)
    return LineWatcher(console)
