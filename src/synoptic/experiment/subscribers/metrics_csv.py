"""Metrics as CSV in long form: one number a line, which every table program reads."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from synoptic.core.files import write_text
from synoptic.experiment.subscribers.rows import Event, Row, Rows

HEADER = ("round", "seconds", "name", "value")


class MetricsCsv:
    """Appends whole lines, the lines of one event in one write."""

    option = "--csv"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows = Rows()

    def begin(self, events: Sequence[Event]) -> None:
        """Write the file anew with what happened so far."""
        self._rows = Rows()
        write_text(self.path, _lines([HEADER, *(_cells(row) for event in events for row in self._rows.of(event))]))

    def tell(self, event: Event) -> None:
        """Append one event's numbers."""
        rows = self._rows.of(event)
        if rows:
            with self.path.open("ab", buffering=0) as file:
                file.write(_lines(_cells(row) for row in rows).encode("utf-8"))

    def close(self) -> None:
        """Nothing is held open."""


def _cells(row: Row) -> tuple[str, ...]:
    # The shortest text that is read back as the same number; whole numbers without a point.
    value = int(row.value) if row.value.is_integer() else row.value
    return str(row.round), f"{row.seconds:.3f}", row.name, repr(value)


def _lines(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
