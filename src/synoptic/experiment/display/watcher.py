"""Observers of a run's events: one that only remembers, and one that writes a line for each thing that happens."""

from __future__ import annotations

from typing import Any, Self

from rich.console import Console
from rich.text import Text

from synoptic.experiment.display.numbers import bytes_text, headlines, seconds_text

Event = dict[str, Any]

NAMED = 3
"""Failures of one round that are told one by one; the rest are counted."""


class Watcher:
    """Says nothing; remembers where the run lies and how far it is.

    Attributes:
        folder: of the run; None until it exists.
        rounds_done: finished rounds; None until the run has started.
    """

    def __init__(self) -> None:
        self.folder: str | None = None
        self.rounds_done: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __call__(self, event: Event) -> None:
        """Take one event; kinds that a watcher does not know pass by."""
        if event["type"] == "run_started":
            self.folder, self.rounds_done = event["folder"], event["first_round"]
        elif event["type"] == "round":
            self.rounds_done = event["round"] + 1
        show = getattr(self, f"on_{event['type']}", None)
        if show is not None:
            show(event)


class LineWatcher(Watcher):
    """Plain lines, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console
        self._failures = 0

    def say(self, text: str, style: str = "") -> None:
        """One line, never broken: a log is searched by line."""
        self.console.print(Text(text, style), soft_wrap=True)

    def on_run_started(self, event: Event) -> None:
        """What runs, and where."""
        for line in describe_run(event):
            self.say(line)

    def on_evaluated(self, event: Event) -> None:
        """Only the measurement before training; later ones come with their round."""
        if event["round"] < 0 and headlines(event["metrics"]):
            self.say(f"before training  {headlines(event['metrics'])}")

    def on_round(self, event: Event) -> None:
        """One line a round."""
        self._tell_uncounted()
        width = len(str(event["rounds"]))
        self.say(f"round {event['round'] + 1:{width}}/{event['rounds']}  {describe_round(event)}")

    def on_failure(self, event: Event) -> None:
        """A client that could not do its task."""
        self._failures += 1
        if self._failures <= NAMED:
            self.say(f"round {event['round'] + 1}: client {event['client']} failed in {event['task']}: "
                     f"{event['reason']}", "yellow")  # fmt: skip

    def on_round_failed(self, event: Event) -> None:
        """A round that changed nothing."""
        self.say(f"round {event['round'] + 1} failed: {event['reason']}", "yellow")

    def on_end_failed(self, event: Event) -> None:
        """What follows the last round, which is tried again."""
        self.say(f"after the last round: {event['reason']}", "yellow")

    def on_checkpoint_skipped(self, event: Event) -> None:
        """A damaged checkpoint on resuming."""
        self.say(f"left out: {event['reason']}", "yellow")

    def _tell_uncounted(self) -> None:
        more, self._failures = self._failures - NAMED, 0
        if more > 0:
            self.say(f"... and {more} more clients failed", "yellow")


def describe_run(event: Event) -> tuple[str, str]:
    """What runs, in two short lines."""
    clients = f"{event['clients']:,} client{'s' * (event['clients'] != 1)}"
    again = f", going on after round {event['first_round']}" if event["first_round"] else ""
    return (
        f"{event['method']} on {event['data']}, {clients}, seed {event['seed']}{again}",
        f"{event['model']}, recipe {event['recipe_hash']}",
    )


def describe_round(event: Event) -> str:
    """Loss, accuracy if measured, bytes both ways, seconds."""
    loss = event.get("loss")
    parts = [
        f"loss {loss:.4g}" if loss is not None else "",
        headlines(event.get("metrics") or {}),
        bytes_text(event["bytes_up"] + event["bytes_down"]),
        seconds_text(event["seconds"]),
    ]
    return "  ".join(part for part in parts if part)
