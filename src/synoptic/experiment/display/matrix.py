"""What a person sees of a suite at work: the whole matrix on a terminal, a line for each run elsewhere."""

from __future__ import annotations

import time
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from synoptic.experiment.display.numbers import headlines, seconds_text

Event = dict[str, Any]
SIGNS = {"waiting": "·", "running": "▸", "reused": "=", "done": "✓", "failed": "✗"}
STYLES = {"waiting": "dim", "running": "bold", "reused": "dim", "done": "green", "failed": "red"}
WIDEST = 100


class MatrixWatcher:
    """Says nothing; remembers how far each cell is, and from that how long the rest may take.

    Attributes:
        names: of the cells.
        status: of each cell.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.labels: list[str] = []
        self.conditions: list[str] = []
        self.seeds: list[int] = []
        self.status: list[str] = []
        self._part: dict[int, float] = {}
        self._began: dict[int, float] = {}
        self._took: dict[str, list[float]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __call__(self, event: Event) -> None:
        """Take one event of `synoptic.experiment.comparison.matrix.run_suite`."""
        getattr(self, f"on_{event['type']}")(event)

    def on_suite_started(self, event: Event) -> None:
        """What there is to do."""
        self.names, self.labels = event["cells"], event["labels"]
        self.conditions, self.seeds = event["conditions"], event["seeds"]
        self.status = ["waiting"] * len(self.names)

    def on_cell(self, event: Event) -> None:
        """A cell started or ended."""
        number = event["cell"]
        self.status[number] = event["status"]
        if event["status"] == "running":
            self._began[number] = time.monotonic()
        elif event["status"] == "done" and number in self._began:
            took = time.monotonic() - self._began[number]
            self._took.setdefault(self.label(number), []).append(took)

    def on_cell_event(self, event: Event) -> None:
        """A round of a running cell."""
        inner = event["event"]
        if inner["type"] == "round" and inner["rounds"]:
            self._part[event["cell"]] = (inner["round"] + 1) / inner["rounds"]

    def label(self, number: int) -> str:
        """The method's label of a cell; cells come seed by seed, condition by condition, method by method."""
        return self.labels[number % len(self.labels)]

    @property
    def ended(self) -> int:
        """Cells that need nothing more."""
        return sum(status in ("reused", "done", "failed") for status in self.status)

    def left(self) -> float | None:
        """Seconds of work left, from what runs of the same method took; None while nobody can know."""
        known = [seconds for some in self._took.values() for seconds in some]
        if not known:
            return None
        total = 0.0
        for number, status in enumerate(self.status):
            if status in ("waiting", "running"):
                usual = self._took.get(self.label(number), known)
                total += sum(usual) / len(usual) * (1 - (self._part.get(number, 0.0) if status == "running" else 0.0))
        return total / max(self.status.count("running"), 1)


class LineMatrix(MatrixWatcher):
    """Plain lines, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def say(self, text: str, style: str = "") -> None:
        """One line, never broken."""
        self.console.print(Text(text, style), soft_wrap=True)

    def on_cell(self, event: Event) -> None:
        """A line for each cell that ended."""
        super().on_cell(event)
        name = self.names[event["cell"]]
        place = f"{self.ended}/{len(self.names)}  {name}"
        if event["status"] == "failed":
            self.say(f"{place}  failed: {event['reason']}", "red")
        elif event["status"] in ("done", "reused"):
            again = "  (reused)" if event["status"] == "reused" else ""
            self.say(f"{place}  {headlines(event['metrics'])}  {seconds_text(event['seconds'])}{again}")


class LiveMatrix(LineMatrix):
    """The matrix, redrawn in place; failures stay as lines above it, the rest vanishes at the end."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live = Live(console=console, transient=True, get_renderable=self.picture, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def on_cell(self, event: Event) -> None:
        """Only failures are told in words."""
        if event["status"] == "failed":
            super().on_cell(event)
        else:
            MatrixWatcher.on_cell(self, event)

    def picture(self) -> RenderableType:
        """What stands on the screen now."""
        if not self.names:
            return Text("getting ready")
        width = min(self.console.width, WIDEST)
        rows = len(self.labels) * len(self.conditions)
        parts: list[RenderableType] = [self._matrix()] if rows + 6 <= self.console.height else []
        foot = Table.grid(padding=(0, 1), expand=True)
        foot.add_column(no_wrap=True)
        foot.add_column(ratio=1)
        foot.add_column(no_wrap=True, justify="right", min_width=len("59 min 59 s left"))
        left = self.left()
        foot.add_row(f"runs {self.ended}/{len(self.names)}",
                     ProgressBar(total=len(self.names), completed=self.ended),
                     "" if left is None else f"{seconds_text(left)} left")  # fmt: skip
        foot.width = width
        running = [f"{self.names[number]} {100 * self._part.get(number, 0.0):.0f} %"
                   for number, status in enumerate(self.status) if status == "running"]  # fmt: skip
        return Group(*parts, foot, Text("  ".join(running), no_wrap=True, overflow="ellipsis"))

    def _matrix(self) -> Table:
        grid = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold", show_edge=False)
        grid.add_column("", overflow="ellipsis", no_wrap=True)
        for seed in self.seeds:
            grid.add_column(str(seed), no_wrap=True)
        across = len(self.labels) * len(self.conditions)
        for row in range(across):
            condition = self.conditions[row // len(self.labels)]
            name = self.labels[row % len(self.labels)]
            statuses = [self.status[place * across + row] for place in range(len(self.seeds))]
            grid.add_row(f"{name}{f', {condition}' if condition else ''}",
                         *(Text(SIGNS[status], STYLES[status]) for status in statuses))  # fmt: skip
        return grid
