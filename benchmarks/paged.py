"""A suite whose results stand in one JSON file and, as a table and perhaps a picture, in a page that people write.

What these benchmarks share: their options, what is kept of the runs, and where the page is written.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.marks import between
from benchmarks.measure import environment
from benchmarks.results import ROOT
from synoptic.core import SynopticError
from synoptic.core.files import read_json, write_json, write_text
from synoptic.experiment.claims.reading import read_claims
from synoptic.experiment.comparison.matrix import Comparison, run_suite
from synoptic.experiment.comparison.suite import Suite
from synoptic.experiment.display import output
from synoptic.experiment.display.matrix import LineMatrix
from synoptic.experiment.records import RunRecord

END = "<!-- end of the table -->"

Runs = Mapping[str, Sequence[Mapping[str, Any]]]
"""By the suite's entries: of each seed what is kept of its run."""


@dataclass(frozen=True)
class Paged:
    """One such benchmark.

    Attributes:
        name: the module's; results and picture are called so.
        about: one line for ``--help``.
        page: the page with the table.
        suite: what is run.
        runs: where runs lie unless ``--output`` says otherwise.
        of_run: what is kept of a run.
        table: lines of Markdown.
        draw: the picture, if there is one.
        alt: the picture in words.
    """

    name: str
    about: str
    page: Path
    suite: Callable[[], Suite]
    runs: Path
    of_run: Callable[[RunRecord], Mapping[str, Any]]
    table: Callable[[Runs], list[str]]
    draw: Callable[[Runs, Path], None] | None = None
    alt: str = ""

    @property
    def results(self) -> Path:
        """The committed file."""
        return ROOT / "benchmarks" / "results" / f"{self.name}.json"

    @property
    def picture(self) -> Path:
        """The committed picture."""
        return ROOT / "docs" / "images" / f"{self.name}.png"

    @property
    def begin(self) -> str:
        """The mark in the page above the table."""
        return f"<!-- written by `python -m benchmarks.{self.name}` -->"

    def main(self) -> None:
        """Run what is missing, write results, picture and table."""
        parser = argparse.ArgumentParser(description=self.about)
        parser.add_argument("--jobs", type=int, default=1, help="processes at once")
        parser.add_argument("--output", type=Path, default=self.runs, help="where runs lie; finished ones are read")
        parser.add_argument("--quick", action="store_true", help="tiny runs of two seeds; touches no page")
        parser.add_argument("--page", action="store_true", help="write page and picture again, run nothing")
        options = parser.parse_args()
        os.chdir(ROOT)
        results = options.output / f"{self.name}.json" if options.quick else self.results
        if not options.page:
            suite = self.suite().quicker() if options.quick else self.suite()
            done = run_suite(suite, options.output, [LineMatrix(output())], options.jobs)
            write_json(results, {**self.content(done), "environment": environment()})
        runs: Runs = read_json(results)["runs"]
        if self.draw is not None:
            self.draw(runs, results.with_suffix(".png") if options.quick else self.picture)
        print(*self.table(runs), sep="\n")
        if not options.quick:
            write_text(self.page, self.with_table(self.page.read_text(encoding="utf-8"), runs))

    def content(self, done: Comparison) -> dict[str, Any]:
        """What is kept of a comparison.

        Raises:
            SynopticError: a run is missing.
        """
        if done.problems:
            first = done.problems[0]
            raise SynopticError(
                f"no result for {first.cell}: {first.sentence}", "mend it and run again: the rest is kept"
            )
        hashes = {group.label: group.runs[0].summary["recipe_hash"] for group in done.groups}
        runs = {group.label: [{"seed": run.seed, **self.of_run(run), "final_hash": run.summary["final_hash"]}
                              for run in group.runs] for group in done.groups}  # fmt: skip
        return {"suite": done.suite.name, "suite_hash": done.suite.hash, "recipe_hashes": hashes, "runs": runs}

    def with_table(self, page: str, runs: Runs) -> str:
        """The page with picture and table between their marks."""
        shown = [f"![{self.alt}](../images/{self.picture.name})", ""] if self.draw is not None else [""]
        return between(page, self.begin, END, [*shown, *self.table(runs)])


def part_of(claims: Path, suite: str, labels: Sequence[str]) -> Suite:
    """Some entries of a suite of a claims file, whose runs are then shared; the first is the baseline."""
    whole = read_claims(claims).suites[suite]
    return whole.model_copy(
        update={"methods": {label: whole.methods[label] for label in labels}, "baseline": labels[0]}
    )
