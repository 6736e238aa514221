"""Verdicts as JSON: a list with one mapping for each claim."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from synoptic.core.files import write_json
from synoptic.experiment.claims.check import Checked, Outcome
from synoptic.experiment.claims.text import unit_of

FOLDER = Path("benchmarks/results/claims")
PAGES = Path("docs/claims")
_RAW = {"percent": "share", "times": "ratio"}


def write_results(checked: Checked, path: Path) -> None:
    """Write all verdicts, atomically."""
    write_json(path, [_row(outcome, checked) for outcome in checked.outcomes])


def _row(outcome: Outcome, checked: Checked) -> dict[str, Any]:
    claim, verdict, kind = outcome.claim, outcome.verdict, unit_of(outcome.claim.parsed)
    return {
        "id": outcome.name,
        "statement": claim.statement,
        "source": str(claim.source),
        "verdict": verdict.word,
        "effect": _finite(verdict.effect),
        "low": _finite(verdict.low),
        "high": _finite(verdict.high),
        "seeds": len(verdict.seeds),
        "suite_hash": outcome.suite_hash,
        "data": outcome.data,
        "suite": claim.suite,
        "relation": claim.parsed.text,
        "threshold": claim.parsed.threshold,
        "unit": _RAW.get(kind, kind),
        "values": {str(seed): _finite(value) for seed, value in zip(verdict.seeds, verdict.values, strict=True)},
        "reason": verdict.reason,
        "note": claim.note,
        "paper": claim.paper.model_dump() if claim.paper is not None else None,
        **_made_by(checked, claim.suite),
    }


def _made_by(checked: Checked, suite: str) -> dict[str, list[str]]:
    """Versions and revisions of Synoptic by which the runs were made; a finished run is reused by a later one."""
    runs = [run for group in checked.comparisons[suite].groups for run in group.runs]
    environments = [run.summary.get("environment", {}) for run in runs]
    return {
        "versions": sorted({str(one.get("packages", {}).get("synoptic")) for one in environments}),
        "revisions": sorted({str(one.get("revision")) for one in environments}),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
