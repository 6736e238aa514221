"""A live picture of a run on a terminal: rounds, the cohort at work, loss, accuracy, bytes, time left."""

from __future__ import annotations

from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from synoptic.experiment.display.numbers import bytes_text, headlines, seconds_text
from synoptic.experiment.display.watcher import Event, LineWatcher

WIDEST = 100
LEFT = len("59 min 59 s left")


class LiveWatcher(LineWatcher):
    """Redraws itself in place and vanishes at the end; failures stay as lines above it.

    Args:
        console: a terminal.
        cohorts: whether clients at work are told; a run of another process tells of whole rounds only.
    """

    def __init__(self, console: Console, cohorts: bool = True) -> None:
        super().__init__(console)
        self._cohorts = cohorts
        self._rounds = 0
        self._widest = 0
        self._cohort = (0, 0)
        self._seconds: list[float] = []
        self._loss: float | None = None
        # By round: a resumed run that is followed does some rounds again.
        self._bytes: dict[int, int] = {}
        self._accuracy = ""
        self._spinner = Spinner("line", Text("getting ready"))
        self._live = Live(console=console, transient=True, get_renderable=self.picture, refresh_per_second=5)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def on_run_started(self, event: Event) -> None:
        """The heading stays on the screen."""
        super().on_run_started(event)
        self._rounds = event["rounds"]
        # Room for the longest text from the start, or the bars would jump.
        self._widest = max(
            len(f"{name} {n}/{n}") for name, n in (("round", self._rounds), ("clients", event["clients"]))
        )

    def on_evaluated(self, event: Event) -> None:
        """The newest accuracy."""
        super().on_evaluated(event)
        self._accuracy = headlines(event["metrics"]) or self._accuracy

    def on_cohort(self, event: Event) -> None:
        """How many clients of this round have trained."""
        self._cohort = (event["done"], event["total"])

    def on_round(self, event: Event) -> None:
        """Take what a round says; nothing is printed."""
        self._tell_uncounted()
        self._rounds, self._cohort = event["rounds"], (0, 0)
        self._seconds.append(event["seconds"])
        self._loss = event["loss"] if event.get("loss") is not None else self._loss
        self._bytes[event["round"]] = event["bytes_up"] + event["bytes_down"]

    def picture(self) -> RenderableType:
        """What stands on the screen now."""
        if self.folder is None:
            return self._spinner
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(no_wrap=True, min_width=self._widest)
        grid.add_column(ratio=1)
        grid.add_column(no_wrap=True, min_width=LEFT, justify="right")
        rounds = self.rounds_done or 0
        grid.add_row(f"round {rounds}/{self._rounds}", _bar(rounds, self._rounds), self._left(self._rounds - rounds))
        if self._cohorts:
            done, total = self._cohort
            grid.add_row(f"clients {done}/{total}" if total else "clients", _bar(done, total), "")
        grid.width = min(self.console.width, WIDEST)
        return Group(grid, Text(self._figures()))

    def _figures(self) -> str:
        parts = [
            f"loss {self._loss:.4g}" if self._loss is not None else "",
            self._accuracy,
            f"{bytes_text(sum(self._bytes.values()))} sent",
        ]
        return "  ".join(part for part in parts if part)

    def _left(self, rounds: int) -> str:
        if not self._seconds:
            return ""
        # The last few rounds tell the pace better than the first, which fills the caches.
        recent = self._seconds[-5:]
        return f"{seconds_text(rounds * sum(recent) / len(recent))} left"


def _bar(done: int, total: int) -> ProgressBar:
    return ProgressBar(total=max(total, 1), completed=done)
