"""`compare`: run a suite and leave its tables as files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from synoptic.core.errors import SynopticError
from synoptic.core.files import digest, write_json, write_text
from synoptic.experiment.comparison.matrix import Comparison, Observer, run_suite
from synoptic.experiment.comparison.suite import Suite
from synoptic.experiment.comparison.text import as_csv, as_json, markdown
from synoptic.experiment.yaml_text import dump_yaml


def compare(
    suite: Suite, output: Path = Path("runs"), observers: Sequence[Observer] = (), jobs: int = 1, fresh: bool = False
) -> tuple[Comparison, Path]:
    """Run what is missing of a suite and write what came of it.

    Args:
        suite: from `synoptic.experiment.comparison.suite.read_suite` or `suite_of_words`.
        output: where runs lie, and below it the comparison's folder.
        observers: called with the suite's events.
        jobs: processes at work at once.
        fresh: reuse nothing.

    Returns:
        The comparison and its folder: ``table.md``, ``table.csv``, ``table.json`` and ``suite.yaml``.

    Raises:
        SynopticError: a recipe that cannot be, or a metric that no run has.
    """
    result = run_suite(suite, output, observers, jobs, fresh)
    # Another baseline, other columns or seeds are another table; none of them replaces this one.
    mark = digest(suite.hash, repr((suite.seeds, suite.baseline, suite.metrics)))[:8]
    folder = output / "-".join(filter(None, ("compare", suite.name, mark)))
    if not result.groups:
        return result, folder
    try:
        write_comparison(result, folder)
    except SynopticError as error:
        plain = replace(result, suite=suite.model_copy(update={"metrics": ()}))
        write_comparison(plain, folder)
        raise SynopticError(error.what, f"the table without it is in {folder}, and the runs are kept; {error.fix}"
                            ) from error  # fmt: skip
    return result, folder


def write_comparison(result: Comparison, folder: Path) -> None:
    """The tables of a comparison as files."""
    suite, tables = result.suite, result.tables()
    write_text(folder / "suite.yaml", dump_yaml(json.loads(suite.anywhere().model_dump_json())))
    write_text(folder / "table.md", page(result))
    write_text(folder / "table.csv", as_csv(tables))
    write_json(folder / "table.json", {
        "name": suite.name,
        "suite_hash": suite.hash,
        "tables": as_json(tables),
        "runs": {f"{group.label}|{group.condition}|{run.seed}": run.name for group in result.groups
                 for run in group.runs},
        "problems": [{"cell": str(problem.cell), "reason": problem.sentence} for problem in result.problems],
    })  # fmt: skip


def page(result: Comparison, level: int = 1) -> str:
    """The comparison as a Markdown page whose heading has ``level``."""
    suite = result.suite
    lines = [f"{'#' * level} {suite.title or suite.name or ', '.join(suite.methods)}", ""]
    if suite.about:
        lines += [suite.about, ""]
    for table in result.tables():
        if table.title:
            lines += [f"**{table.title}**", ""]
        elif table.condition:
            lines += [f"{'#' * (level + 1)} {table.condition}", ""]
        lines += [markdown(table), ""]
    revisions = {str(run.summary.get("environment", {}).get("revision")) for one in result.groups for run in one.runs}
    lines += [f"* Suite `{suite.hash}`, made by revision {', '.join(sorted(revisions))}.", ""]
    if result.problems:
        lines += ["No result:", "", *(f"* {problem.cell}: {problem.sentence}" for problem in result.problems), ""]
    return "\n".join(lines)
