"""From a claims file to verdicts: run what is missing, then decide every claim."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from synoptic.core.errors import SynopticError
from synoptic.data.spec import CLIENTS, DataSpec
from synoptic.experiment.claims.judge import Verdict, judge
from synoptic.experiment.claims.spec import Claim, ClaimsFile
from synoptic.experiment.comparison.matrix import Comparison, Observer, run_suite
from synoptic.experiment.comparison.suite import Cell, Suite
from synoptic.experiment.problems import RecipeError

Watching = Callable[[], AbstractContextManager[Observer]]


@dataclass(frozen=True)
class Outcome:
    """One claim and what came of it.

    Attributes:
        name: the claim's id.
        claim: sentence, source, relation.
        verdict: and its effect.
        wanted: the seeds that its suite asks for.
        suite_hash: of the recipes that it rests on.
        data: source, partition and clients in words.
    """

    name: str
    claim: Claim
    verdict: Verdict
    wanted: tuple[int, ...]
    suite_hash: str
    data: str

    @property
    def evaluated(self) -> bool:
        """Whether the effect could be measured on every seed, whatever the verdict."""
        return self.verdict.measured and self.verdict.seeds == tuple(sorted(self.wanted))


@dataclass(frozen=True)
class Checked:
    """A claims file with its outcomes, and the comparisons that they rest on by suite."""

    file: ClaimsFile
    outcomes: tuple[Outcome, ...]
    comparisons: Mapping[str, Comparison]

    @property
    def failures(self) -> tuple[str, ...]:
        """Runs that gave no result, and why."""
        return tuple(f"no result for {name}, {problem.cell}: {problem.sentence}"
                     for name, comparison in self.comparisons.items() for problem in comparison.problems)  # fmt: skip


def check_claims(file: ClaimsFile, output: Path, watching: Watching, jobs: int = 1, fresh: bool = False) -> Checked:
    """Run what is missing and judge all claims.

    Args:
        file: from `synoptic.experiment.claims.reading.read_claims`.
        output: where runs lie; suites share them.
        watching: gives an observer for each suite's events.
        jobs: processes at work at once.
        fresh: reuse nothing.

    Raises:
        SynopticError: a recipe that cannot be, told before anything runs, or a metric that no run has.
        KeyboardInterrupt: passed on; every finished round is saved.
    """
    for suite in file.suites.values():
        for cell in _one_seed(suite):
            suite.recipe_of(cell, output)
    comparisons: dict[str, Comparison] = {}
    for name, suite in file.suites.items():
        with watching() as observer:
            comparisons[name] = run_suite(suite, output, [observer], jobs, fresh)
    return Checked(file, tuple(_outcomes(file, comparisons)), comparisons)


def _outcomes(file: ClaimsFile, comparisons: Mapping[str, Comparison]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    problems: list[str] = []
    for name, claim in file.claims.items():
        suite = file.suites[claim.suite]
        try:
            verdict = judge(claim.parsed, comparisons[claim.suite].groups, suite.seeds)
        except SynopticError as error:
            problems.append(f"claim '{name}': {error}")
        else:
            outcomes.append(Outcome(name, claim, verdict, suite.seeds, suite.hash, data_of(claim, suite)))
    if problems:
        raise RecipeError(problems)
    return outcomes


def data_of(claim: Claim, suite: Suite) -> str:
    """The data of a claim's runs: source, partition and clients of each condition that it speaks of."""
    asked = {(term.entry, term.condition) for term in claim.parsed.terms}
    cells = [cell for cell in _one_seed(suite) if {(cell.label, cell.condition), (cell.label, None)} & asked]
    return "; ".join(dict.fromkeys(_in_words(suite.recipe_of(cell, Path()).data) for cell in cells))


def _one_seed(suite: Suite) -> list[Cell]:
    return [Cell(label, condition, suite.seeds[0]) for condition in suite.conditions for label in suite.methods]


def _in_words(data: DataSpec) -> str:
    partition = data.partition
    kinds = {
        "classes": f"{partition.classes_per_client} classes a client" if partition.classes_per_client
        else "disjoint classes",
        "dirichlet": f"Dirichlet({partition.alpha:g})",
        "domain": "one domain a client",
        "domain_dirichlet": f"Dirichlet({partition.alpha:g}) in each domain",
        "column": f"one client a value of {partition.column}",
    }  # fmt: skip
    source = data.source if data.path is None else f"{data.source} {Path(data.path).name}"
    if (asked := data.questions) is not None:
        source += f" (input shift {asked.input_shift:g}, output shift {asked.output_shift:g}, common {asked.common:g})"
    counted = data.clients or (CLIENTS if partition.kind in ("iid", "classes", "dirichlet") else None)
    clients = "" if counted is None else f", {counted} client{'s' * (counted != 1)}"
    return f"{source}, {kinds.get(partition.kind, partition.kind)}{clients}"
