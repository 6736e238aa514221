"""Who else is told: an observer that hands a run's events on to its subscribers."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, Self

from synoptic.experiment.events import Event, read_events
from synoptic.experiment.folder import RunFolder
from synoptic.experiment.follow import News
from synoptic.experiment.subscribers.metrics_csv import MetricsCsv
from synoptic.experiment.subscribers.tensor_board import TensorBoard, require_tensorboard
from synoptic.experiment.yaml_text import read_yaml


class Subscriber(Protocol):
    """Writes a run's numbers somewhere.

    Attributes:
        option: of the command line that asks for it.
        path: what it writes.
    """

    option: str
    path: Path

    def begin(self, events: Sequence[Event]) -> None:
        """Start anew with what the log holds."""

    def tell(self, event: Event) -> None:
        """Take the next event of the log."""

    def close(self) -> None:
        """Let go of files."""


class Subscriptions:
    """Opens the wanted subscribers when the run's folder is known and tells them what the log holds.

    A subscriber that cannot write is dropped with a sentence: a full disk under a table must not end a run.

    Args:
        csv: write ``metrics.csv``.
        tensorboard: write ``tensorboard/``.
        to: a folder, in which these lie below the run's name; None is the run's own folder.
        say: where sentences go.

    Raises:
        SynopticError: TensorBoard is wanted and not installed.
    """

    def __init__(self, csv: bool, tensorboard: bool, to: Path | None, say: Callable[[str], object]) -> None:
        if tensorboard:
            require_tensorboard()
        self._csv, self._tensorboard, self._to, self._say = csv, tensorboard, to, say
        self._open: list[Subscriber] | None = None
        self._again = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._each(lambda subscriber: subscriber.close())

    def __call__(self, event: Event) -> None:
        """Observe a run of this process."""
        if event["type"] == "cohort" or not self.wanted:
            return
        if self._open is None:
            # The event is in the log already, behind what a resumed run kept of its earlier attempts.
            self.replay(RunFolder(Path(event["folder"])))
        else:
            self.tell(event)

    @property
    def wanted(self) -> bool:
        """Whether there is anything to write."""
        return self._csv or self._tensorboard

    @property
    def paths(self) -> list[Path]:
        """What is being written."""
        return [subscriber.path for subscriber in self._open or ()]

    def replay(self, folder: RunFolder) -> None:
        """Start anew from the log in ``folder``; later events are told one by one."""
        self.begin(folder, list(read_events(folder.events)))

    def begin(self, folder: RunFolder, events: Sequence[Event]) -> None:
        """Start anew with ``events``, which are all that the log holds."""
        if self._open is None:
            self._open = self._wanted(folder)
        self._each(lambda subscriber: subscriber.begin(events))

    def tell(self, event: Event) -> None:
        """The next event of the log."""
        self._each(lambda subscriber: subscriber.tell(event))

    def take(self, folder: RunFolder, news: News) -> None:
        """Observe a run of another process, by what a look at its log brought."""
        if news.all is not None:
            self.begin(folder, news.all)
        elif self._open is None:
            self.begin(folder, news.events)
        else:
            for event in news.events:
                self.tell(event)

    def finish(self, folder: Path) -> None:
        """A run that was finished before tells no events; its log does."""
        if self._open is None and self.wanted:
            self.replay(RunFolder(folder))

    def _wanted(self, folder: RunFolder) -> list[Subscriber]:
        place = folder.path if self._to is None else self._to.expanduser() / folder.path.resolve().name
        self._again = f"synoptic watch {shlex.quote(str(folder.path))} --once"
        wanted: list[Subscriber] = []
        if self._csv:
            wanted.append(MetricsCsv(place / "metrics.csv"))
        if self._tensorboard:
            wanted.append(TensorBoard(place / "tensorboard", read_yaml(folder.recipe)[0]))
        return wanted

    def _each(self, act: Callable[[Subscriber], None]) -> None:
        for subscriber in list(self._open or ()):
            try:
                act(subscriber)
            except OSError as error:
                assert self._open is not None
                self._open.remove(subscriber)
                self._say(f"{subscriber.path} is no longer written ({error.strerror or error}); make it later with: "
                          f"{self._again} {subscriber.option}")  # fmt: skip
