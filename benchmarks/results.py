"""Runs every suite in `benchmarks/suites` and writes what came of it: `make results`.

    python -m benchmarks.results [--only digits,world-classes,...] [--pages]

Runs go to `runs/results`; finished ones are reused, stopped ones go on. Written: `benchmarks/results/suites/NAME.json`
(every run's recipe, metrics, bytes, seconds, final hash, and the revision in its environment), `docs/results.md` and
the table in the README. ``--pages`` writes the pages again from the files without running anything.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from benchmarks.marks import between
from synoptic.core.files import read_json, write_json, write_text
from synoptic.experiment.comparison.compare import page
from synoptic.experiment.comparison.groups import Group
from synoptic.experiment.comparison.matrix import Comparison, run_suite
from synoptic.experiment.comparison.suite import Suite, read_suite
from synoptic.experiment.comparison.text import markdown
from synoptic.experiment.display import output
from synoptic.experiment.display.matrix import LineMatrix
from synoptic.experiment.folder import RunFolder
from synoptic.experiment.records import RunRecord

ROOT = Path(__file__).resolve().parent.parent
SUITES = ROOT / "benchmarks" / "suites"
RESULTS = ROOT / "benchmarks" / "results" / "suites"
PAGE = ROOT / "docs" / "results.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- written by `make results` -->\n", "<!-- end -->"
UNDER = " | "
"""Between a method's label and its condition, where a suite has several."""

SHOWN = "digits"
"""The suite whose table stands in the README."""

HEAD = """# Results

Written by `make results` from the suites in `benchmarks/suites` and their results in `benchmarks/results/suites`; no
number is typed by hand. Shares in per cent after the last round, mean over seeds ± half of a 95 % t-interval. A row is
of the model that everybody shares unless it says *personal* (pooled test sets: the mean over clients). Seconds are of
training and evaluation on one thread. What the columns mean: [how we evaluate](evaluation.md).
"""


def main() -> None:
    """See the module's description."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="names of suites, separated by commas")
    parser.add_argument("--pages", action="store_true", help="write the pages again, run nothing")
    options = parser.parse_args()
    os.chdir(ROOT)
    if not options.pages:
        for suite in _suites():
            if options.only and suite.name not in options.only.split(","):
                continue
            if _absent(suite):
                print(f"{suite.name}: skipped, {_absent(suite)} is not there")
                continue
            print(suite.name, flush=True)
            write_result(run_suite(suite, Path("runs/results"), [LineMatrix(output())]), RESULTS)
    done = [(suite, read_result(suite, RESULTS)) for suite in _suites() if (RESULTS / f"{suite.name}.json").exists()]
    write_text(PAGE, "\n".join([HEAD, *(page(Comparison(suite, groups, ()), level=2) for suite, groups in done)]))
    write_text(README, with_table(README.read_text(encoding="utf-8"), done))
    print(f"wrote {PAGE.relative_to(ROOT)} and the table in {README.relative_to(ROOT)}")


def _suites() -> list[Suite]:
    return [read_suite(path) for path in sorted(SUITES.glob("*.yaml"))]


def _absent(suite: Suite) -> str:
    """The data that a suite asks for and that are not there."""
    path = os.path.expandvars(str(suite.settings.get("data.path", "")))
    return path if path and not Path(path).exists() else ""


def write_result(result: Comparison, folder: Path) -> None:
    """Everything about a suite's runs that is worth keeping, as ``folder/NAME.json``."""
    for problem in result.problems:
        print(f"no result for {problem.cell}: {problem.sentence}")
    methods = {_key(group): [_row(run) for run in group.runs] for group in result.groups}
    recipes = {_key(group): {key: value for key, value in group.recipe.items() if key not in ("seed", "output")}
               for group in result.groups}  # fmt: skip
    for recipe in recipes.values():
        # Where data lie on this machine is nobody's business.
        recipe["data"] = {key: Path(value).name if isinstance(value, str) and value.startswith("/") else value
                          for key, value in recipe["data"].items()}  # fmt: skip
    content = {"suite": result.suite.name, "suite_hash": result.suite.hash, "recipes": recipes, "runs": methods}
    write_json(folder / f"{result.suite.name}.json", content)


def _row(run: RunRecord) -> dict[str, Any]:
    return {"name": run.name, **{key: value for key, value in run.summary.items() if key != "clients"}}


def read_result(suite: Suite, folder: Path) -> tuple[Group, ...]:
    """The groups of an earlier measurement."""
    content = read_json(folder / f"{suite.name}.json")
    groups = []
    for key, rows in content["runs"].items():
        label, _, condition = key.partition(UNDER)
        groups.append(Group(label, tuple(_record(row, content["recipes"][key]) for row in rows), condition))
    return tuple(groups)


def _key(group: Group) -> str:
    return f"{group.label}{UNDER}{group.condition}" if group.condition else group.label


def _record(row: dict[str, Any], recipe: dict[str, Any]) -> RunRecord:
    return RunRecord(RunFolder(Path(row["name"])), {**recipe, "seed": row["seed"]}, "finished", row)


def with_table(readme: str, done: list[tuple[Suite, tuple[Group, ...]]]) -> str:
    """The README with the table of one suite between its marks."""
    tables = [Comparison(suite, groups, ()).tables()[0] for suite, groups in done if suite.name == SHOWN]
    return between(readme, BEGIN, END, [markdown(table) for table in tables])


if __name__ == "__main__":
    main()
