"""Who takes part in a served run, read from its folder."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from synoptic.core import SynopticError
from synoptic.core.files import read_json
from synoptic.deploy.session import NODES
from synoptic.experiment.run_state import read_state

Row = tuple[str, str, str, str, str]


@dataclass(frozen=True)
class Status:
    """What there is to say.

    Attributes:
        headline: how far the run is.
        rows: client, whether its node is there, examples, when it last replied, its last failure.
        refused: nodes that were refused, and why.
    """

    headline: str
    rows: list[Row]
    refused: list[str]


def read_status(path: Path) -> Status:
    """The state of a served run.

    Raises:
        SynopticError: no run there, or one that never met nodes.
    """
    state = read_state(path)
    if not (path / NODES).exists():
        raise SynopticError(f"{path} has met no nodes so far", f"for other runs: synoptic watch {path}")
    told = read_json(path / NODES)
    now = time.time()
    running = state.status in ("running", "unknown")
    rows: list[Row] = [
        (name, ("there" if one["there"] else "away") if running else "-", _words(one["examples"]),
         f"{now - one['last_reply']:.0f} s ago" if one["last_reply"] else "never", one["last_failure"] or "")
        for name, one in told["clients"].items()
    ]  # fmt: skip
    rounds = f"{state.status}, {state.done} of {state.rounds} rounds"
    headline = f"{rounds}; nodes as of {now - told['time']:.0f} s ago"
    return Status(headline, rows, told["refused"])


def _words(count: int | None) -> str:
    return "" if count is None else str(count)
