"""How far a run is, read from its folder: running, stopped or finished, rounds, accuracy, how long it may take."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synoptic.core.errors import SynopticError
from synoptic.experiment.events import Event
from synoptic.experiment.follow import LogReader, alive
from synoptic.experiment.records import read_run

RECENT = 5
"""Rounds that tell the pace."""


@dataclass
class RunState:
    """How far a run is.

    Attributes:
        path: the run's folder.
        status: ``running``, ``stopped``, ``finished``, or ``unknown`` where one may not ask for the lock.
        rounds: that the recipe asks for.
        done: rounds done.
        metrics: of the last evaluation.
        failures: clients that failed, in the rounds done.
        started: the last `run_started`, if any.
        seconds: of the last rounds.
        last: time of the last event, seconds since 1970.
        summary: the result; empty unless finished.
    """

    path: Path
    status: str
    rounds: int
    done: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    failures: int = 0
    started: Event = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    last: float | None = None
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def left(self) -> float | None:
        """Seconds that the remaining rounds may take; None before the first round or unless running."""
        recent = self.seconds[-RECENT:]
        return (self.rounds - self.done) * sum(recent) / len(recent) if recent and self.status == "running" else None

    def take(self, event: Event) -> None:
        """Go on by one event of the log."""
        self.last = event.get("time", self.last)
        if event["type"] == "run_started":
            self.started, self.done = event, event["first_round"]
        elif event["type"] == "evaluated":
            self.metrics = event["metrics"] or self.metrics
        elif event["type"] == "failure":
            self.failures += 1
        elif event["type"] == "round":
            self.done = event["round"] + 1
            self.seconds.append(event["seconds"])


def read_state(path: Path) -> RunState:
    """The state of the run in a folder.

    Raises:
        SynopticError: no run there, or one of its files is damaged.
    """
    record = read_run(path)
    rounds = record.recipe.get("rounds")
    if not isinstance(rounds, int):
        raise SynopticError(f"{record.folder.recipe} does not say how many rounds", "restore the file from a copy")
    state = RunState(path, record.status, rounds)
    if record.status == "finished":
        state.summary, state.done = record.summary, record.summary["rounds"]
        state.metrics = record.summary["metrics"]
        return state
    if alive(record.folder) is None:
        state.status = "unknown"
    for event in LogReader(record.folder.events).look().events:
        state.take(event)
    return state


def read_states(path: Path) -> list[RunState | SynopticError]:
    """The runs below a folder, oldest first; one that cannot be read is its error."""
    states: list[RunState | SynopticError] = []
    for recipe in sorted(path.glob("*/recipe.yaml"), key=lambda recipe: recipe.parent.stat().st_ctime):
        try:
            states.append(read_state(recipe.parent))
        except SynopticError as error:
            states.append(error)
    return states
