"""The generated page of a claims file: verdicts, how they are made, each claim in full, and the suites' tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from synoptic.core.files import write_text
from synoptic.experiment.claims.check import Checked, Outcome
from synoptic.experiment.claims.text import (
    NONE,
    UNITS,
    bound_text,
    effect_text,
    interval_text,
    unit_of,
    value_text,
    verdict_text,
)
from synoptic.experiment.comparison.compare import page as suite_page
from synoptic.experiment.comparison.statistics import LEAST

HOW = f"""\
## How verdicts are made

The **effect** is the left side of a claim's relation, taken on the means over seeds; "must be" says what the claim asks
of it. pp are percentage points, x is a ratio. The interval is the wider, end by end, of a 95 % bootstrap in which whole
seeds are drawn with replacement, the same seeds for all terms (runs of one seed share split, initial weights and
batches), and of Student's t on what each seed contributes. A claim **holds** if the whole interval satisfies it, **does
not hold** if none of it does, and is **undecided** where the interval has both in it, or with fewer than {LEAST} seeds
(unless what is counted is the same for all). Of something monotone the effect is the smallest step on the means; high
ends of its interval are corrected for the number of steps. What stands there by seed is each seed's own smallest step,
and the mean of those is not the effect.

Intervals are of single claims: of many that are decided at 95 %, some are decided wrongly by chance. A paper's figure
was measured on the paper's data and model; it stands here for its sign and size, and need not be matched.
"""


def write_page(checked: Checked, path: Path) -> None:
    """Write the page, atomically."""
    write_text(path, page(checked))


def page(checked: Checked) -> str:
    """The page as Markdown."""
    file = checked.file
    parts = [
        f"# {file.title}",
        f"Written by `synoptic claims {file.name}`; no number is typed by hand.",
        *([file.about.strip()] if file.about else []),
        "\n".join(_table(checked)),
        HOW.rstrip(),
        "## The claims",
        *(_claim(outcome) for outcome in checked.outcomes),
        "## The runs",
        *(_suite(name, checked) for name in checked.comparisons),
    ]
    return "\n\n".join(parts) + "\n"


def _table(checked: Checked) -> Iterator[str]:
    figures = any(outcome.claim.paper for outcome in checked.outcomes)
    yield "| claim | verdict | effect | 95 % interval | must be | seeds | source |" + " paper |" * figures
    yield "|---|---|---:|---:|---:|---:|---|" + "---:|" * figures
    for outcome in checked.outcomes:
        claim, paper = outcome.claim, outcome.claim.paper
        cells = [f"[{claim.statement}](#{outcome.name})", verdict_text(outcome.verdict.word), effect_text(outcome),
                 interval_text(outcome) or NONE, bound_text(claim.parsed), str(len(outcome.verdict.seeds)),
                 str(claim.source), *([str(paper) if paper else ""] if figures else [])]  # fmt: skip
        yield f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _claim(outcome: Outcome) -> str:
    claim, verdict = outcome.claim, outcome.verdict
    unit = UNITS[unit_of(claim.parsed)].strip()
    each = ", ".join(f"{seed}: {value_text(outcome, value)}"
                     for seed, value in zip(verdict.seeds, verdict.values, strict=True))  # fmt: skip
    facts = [
        f"{verdict_text(verdict.word)}: {effect_text(outcome)} {interval_text(outcome)}".rstrip(),
        f"relation: `{claim.parsed.text}`",
        f"by seed{f' ({unit})' if unit else ''}: {each or NONE}",
        f"source: {claim.source}",
        f"data: {outcome.data}; suite {claim.suite}, hash `{outcome.suite_hash}`",
    ]
    if claim.paper is not None:
        facts.append(f"the paper's figure: {claim.paper} ({claim.paper.where})")
    if verdict.reason:
        facts.append(f"undecided because: {verdict.reason}")
    note = f"\n\n{claim.note.strip()}" if claim.note else ""
    lines = "\n".join(f"* {fact}" for fact in facts)
    return f"### {outcome.name}\n\n{claim.statement}\n\n{lines}{note}"


def _suite(name: str, checked: Checked) -> str:
    return f"{suite_page(checked.comparisons[name], level=3).rstrip()}\n* The claims call it {name}."


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
