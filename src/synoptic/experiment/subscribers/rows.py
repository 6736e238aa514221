"""From events to rows (round, seconds, name, value): what all subscribers write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Event = dict[str, Any]
OF_A_ROUND = ("loss", "seconds", "clients", "bytes_up", "bytes_down")
"""Fields of the event `round` that become rows called ``round/<field>``."""


@dataclass(frozen=True)
class Row:
    """One number of a run.

    Attributes:
        round: rounds done; 0 is before training.
        seconds: since the run began; the time between a stop and a resume does not count.
        name: a metric's name, ``round/<field>``, or ``log/<name>`` for what the method tells.
        value: the number.
    """

    round: int
    seconds: float
    name: str
    value: float


class Rows:
    """Takes the events of one run in order; remembers only the clock and the failures of the round."""

    def __init__(self) -> None:
        self._before = self._seconds = 0.0
        self._started = 0.0
        self._failures = 0

    def of(self, event: Event) -> list[Row]:
        """The rows of one event; most types have none."""
        if event["type"] == "run_started":
            self._before, self._started, self._failures = self._seconds, event["time"], 0
        if "time" in event:
            # A clock that is set back makes no time negative.
            self._seconds = max(self._seconds, self._before + event["time"] - self._started)
        self._failures += event["type"] == "failure"
        if event["type"] == "evaluated":
            return [self._row(event, name, value) for name, value in event["metrics"].items()]
        if event["type"] == "round":
            failures, self._failures = self._failures, 0
            return self._of_round(event, failures)
        return []

    def _of_round(self, event: Event, failures: int) -> list[Row]:
        named = {f"round/{field}": event.get(field) for field in OF_A_ROUND}
        named |= {"round/failures": failures, "round/failed": event.get("failed", False)}
        named |= {f"log/{name}": value for name, value in event.get("log", {}).items() if name != "loss"}
        return [self._row(event, name, float(value)) for name, value in named.items() if value is not None]

    def _row(self, event: Event, name: str, value: float) -> Row:
        return Row(event["round"] + 1, round(self._seconds, 3), name, value)
