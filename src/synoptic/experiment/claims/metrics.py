"""Names of what a run measures: spelling mistakes are told before anything runs, absent metrics after it.

The words are those of docs/evaluation.md and of `synoptic.experiment.records.RunRecord.measures`. A part that is like
none of them passes, because a method may measure something of its own.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from difflib import get_close_matches

from synoptic.core.errors import SynopticError, nearest

MODELS = ("shared", "personal")
SPLITS = ("local", "base", "novel", "domain", "global", "hm")
QUANTITIES = ("accuracy", "loss", "preference", "utility", "error", "skill")
AVERAGES = ("mean", "weighted", "worst", "p10")
COUNTS: Mapping[str, Sequence[str]] = {
    "bytes": ("up", "down", "total"),
    "seconds": ("total", "train", "evaluate", "communicate"),
    "work": (),
    "log": (),
    "rounds": (),
}
BEFORE = "before"
DEFAULT = "mean"
"""The average that a name without one means."""

CLOSE = 0.75
COUNTED = ("bytes", "work", "rounds")
"""What a recipe fixes: it is counted, not measured, and as a rule the same for every seed."""


def check_spelling(metric: str) -> None:
    """Refuse a metric name that is surely misspelt.

    Raises:
        SynopticError: what was probably meant.
    """
    first, *rest = metric.removeprefix(f"{BEFORE}/").split("/")
    if first not in MODELS and first not in COUNTS:
        raise SynopticError(f"there is no metric '{metric}': '{first}' is no model and nothing that is counted",
                            nearest(first, [*MODELS, *COUNTS]))  # fmt: skip
    expected = [COUNTS[first]] if first in COUNTS else _expected(rest)
    for part, words in zip(rest, expected, strict=False):
        close = get_close_matches(part, words, n=1, cutoff=CLOSE) if part not in words else []
        if close:
            raise SynopticError(f"there is no metric '{metric}': '{part}' is not known", f"did you mean '{close[0]}'?")


def _expected(rest: Sequence[str]) -> list[Sequence[str]]:
    name: list[Sequence[str]] = [()] if rest[:1] == ["domain"] else []
    return [SPLITS, *name, QUANTITIES, AVERAGES]


def full_name(metric: str, known: Container[str]) -> str | None:
    """The name under which a metric stands among the known ones: itself, or with ``/mean`` behind it."""
    return next((name for name in (metric, f"{metric}/{DEFAULT}") if name in known), None)


def absent(metric: str, known: Iterable[str]) -> str:
    """What to do about a metric that a run does not have."""
    likely = [name for name in known if name.split("/")[0] == metric.split("/")[0]]
    return nearest(metric, [*likely, *(name.removesuffix(f"/{DEFAULT}") for name in likely)] or known)


def is_counted(metric: str) -> bool:
    """Whether a metric is counted rather than measured."""
    return metric.split("/")[0] in COUNTED
