"""A run's events as numbers by round, read so that a damaged log costs the curves and nothing else.

Rounds are counted as people do: 0 is before training, 1 after the first round.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from synoptic.core.errors import SynopticError
from synoptic.experiment.events import Event
from synoptic.experiment.records import RunRecord
from synoptic.experiment.report.parts import placeless

Curve = dict[int, float]
LOSS = "log/loss"
LOG = "log/"


@dataclass(frozen=True)
class History:
    """What a run's log says.

    Attributes:
        planned, done: rounds.
        clients: in the federation; 0 where the log does not say.
        curves: values by round for each metric (``shared/base/accuracy/mean``) and each logged number
            (``log/loss``, ``log/reward``).
        before: each client's own numbers before training, by its name.
        failures: clients that failed, over all rounds.
        failed_rounds: rounds that changed nothing.
        problem: why the log could not be read; empty when it could.
    """

    planned: int
    done: int
    curves: Mapping[str, Curve] = field(default_factory=dict)
    before: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    clients: int = 0
    failures: int = 0
    failed_rounds: int = 0
    problem: str = ""


def read_history(run: RunRecord) -> History:
    """A run's history; a log that is missing or damaged gives one without curves that says why."""
    planned = int(run.recipe.get("rounds", 0))
    known = int(run.summary.get("rounds", 0))
    try:
        events = run.events() if run.folder.events.exists() or run.status == "finished" else []
        return _gathered(events, planned, known)
    except SynopticError as error:
        return History(planned, known, problem=placeless(str(error), run.folder.path))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return History(planned, known, problem=f"{run.name}/events.jsonl holds an event of another kind ({error!r}).")


def _gathered(events: list[Event], planned: int, known: int) -> History:
    curves: dict[str, Curve] = {}
    before: Mapping[str, Mapping[str, float]] = {}
    clients = failures = failed = 0
    done = known
    for event in events:
        kind = event["type"]
        if kind == "evaluated":
            _add(curves, "", event["metrics"], event["round"] + 1)
            before = event["per_client"] if event["round"] < 0 else before
        elif kind == "round":
            _add(curves, LOG, _logged(event), event["round"] + 1)
            done = max(done, event["round"] + 1)
        elif kind == "run_started":
            clients = int(event.get("clients", 0))
        elif kind == "failure":
            failures += 1
        elif kind == "round_failed":
            failed += 1
    return History(planned, done, curves, before, clients, failures, failed)


def _logged(event: Event) -> dict[str, Any]:
    log = dict(event.get("log") or {})
    if "loss" not in log and event.get("loss") is not None:
        log["loss"] = event["loss"]
    return log


def _add(curves: dict[str, Curve], prefix: str, values: Mapping[str, Any], round_: int) -> None:
    for name, value in values.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            curves.setdefault(f"{prefix}{name}", {})[int(round_)] = float(value)
