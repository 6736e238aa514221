"""Where and when TAP takes over what the federation does better: ``python -m benchmarks.replacements``.

    python -m benchmarks.replacements [--jobs 2] [--output runs/claims] [--quick] [--page]

The runs of the suite `world` of `claims/tap.yaml`; those that `synoptic claims tap` has left there are read. Written:
`benchmarks/results/replacements.json`, `docs/images/replacements.png` and the table in `docs/methods/tap.md`.
``--quick`` proves that it runs and writes into the folder of its runs alone; ``--page`` writes picture and table again
from the file.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.marks import between
from benchmarks.measure import environment
from benchmarks.results import ROOT
from synoptic.core import SynopticError
from synoptic.core.files import read_json, write_json, write_text
from synoptic.experiment.claims.reading import read_claims
from synoptic.experiment.comparison.matrix import Comparison, run_suite
from synoptic.experiment.comparison.statistics import Estimate, estimate
from synoptic.experiment.display import output
from synoptic.experiment.display.matrix import LineMatrix

CLAIMS = ROOT / "claims" / "tap.yaml"
RESULTS = ROOT / "benchmarks" / "results" / "replacements.json"
PICTURE = ROOT / "docs" / "images" / "replacements.png"
PAGE = ROOT / "docs" / "methods" / "tap.md"
BEGIN, END = "<!-- written by `python -m benchmarks.replacements` -->", "<!-- end of the table -->"
PREFIX = "replacements/"
ALWAYS = "adopt"
"""Takes everything over in every round, so its counts are how many clients with a task took part."""

NAMED = {"tap": "the paper's margin", "wide": "a wide margin"}
SPAN = 5
"""Rounds that are told together."""

Runs = Mapping[str, Sequence[Mapping[str, Any]]]
"""By the suite's entries: of each seed, ``counts`` of each task by round."""


def main() -> None:
    """See the module's description."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument("--output", type=Path, default=Path("runs/claims"), help="where runs lie")
    parser.add_argument("--quick", action="store_true", help="tiny runs of two seeds; touches no page")
    parser.add_argument("--page", action="store_true", help="draw and write again, run nothing")
    options = parser.parse_args()
    os.chdir(ROOT)
    results = options.output / "replacements.json" if options.quick else RESULTS
    if not options.page:
        whole = read_claims(CLAIMS).suites["world"]
        suite = (whole.quicker() if options.quick else whole).model_copy(
            update={"methods": {label: whole.methods[label] for label in (ALWAYS, *NAMED)}, "baseline": ALWAYS}
        )
        done = run_suite(suite, options.output, [LineMatrix(output())], options.jobs)
        write_json(results, {**content(done), "environment": environment()})
    runs: Runs = read_json(results)["runs"]
    picture = results.with_suffix(".png") if options.quick else PICTURE
    draw(runs, picture)
    print(*table(runs), sep="\n")
    if not options.quick:
        write_text(PAGE, with_table(PAGE.read_text(encoding="utf-8"), runs))
    print(f"drew {picture}")


def content(done: Comparison) -> dict[str, Any]:
    """What is kept of a comparison.

    Raises:
        SynopticError: a run is missing.
    """
    if done.problems:
        first = done.problems[0]
        raise SynopticError(f"no result for {first.cell}: {first.sentence}", "mend it and run again: the rest is kept")
    recipes = {group.label: {key: value for key, value in group.recipe.items() if key not in ("seed", "output")}
               for group in done.groups}  # fmt: skip
    runs = {group.label: [{"seed": run.seed, "counts": counts(run.events()), "final_hash": run.summary["final_hash"]}
                          for run in group.runs] for group in done.groups}  # fmt: skip
    return {"suite": done.suite.name, "recipes": recipes, "runs": runs}


def counts(events: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """At how many clients of a round each task was taken over, by task and round."""
    found: dict[str, list[int]] = {}
    for event in events:
        for name, value in event["log"].items() if event["type"] == "round" else ():
            if name.startswith(PREFIX):
                found.setdefault(name.removeprefix(PREFIX), []).append(int(value))
    return found


def shares(runs: Runs, label: str, task: str) -> list[Estimate | None]:
    """Of the clients that had a task and took part, how many took it over, for each span of rounds.

    A seed with which nobody did in a span is left out of it; None where that is every seed.
    """
    pairs = [(_binned(one["counts"][task]), _binned(other["counts"][task]))
             for one, other in zip(runs[label], runs[ALWAYS], strict=True)]  # fmt: skip
    found: list[Estimate | None] = []
    for place in range(len(_spans(runs))):
        values = [float(taken[place] / there[place]) for taken, there in pairs if there[place]]
        found.append(estimate(values) if values else None)
    return found


def _binned(values: Sequence[int]) -> np.ndarray:
    return np.add.reduceat(np.asarray(values), np.arange(0, len(values), SPAN))


def tasks(runs: Runs) -> list[str]:
    """By name, as the recipe lists them."""
    return list(runs[ALWAYS][0]["counts"])


def _spans(runs: Runs) -> list[tuple[int, int]]:
    rounds = len(runs[ALWAYS][0]["counts"][tasks(runs)[0]])
    return [(first + 1, min(first + SPAN, rounds)) for first in range(0, rounds, SPAN)]


def table(runs: Runs) -> list[str]:
    """Shares by margin, task and span of rounds."""
    spans = [f"rounds {first} to {last}" for first, last in _spans(runs)]
    lines = [f"| | task | {' | '.join(spans)} |", "|---|---|" + "---:|" * len(spans)]
    for label, words in NAMED.items():
        for task in tasks(runs):
            cells = [f"{100 * one.mean:.0f} ± {100 * one.half:.0f}" if one else "nobody"
                     for one in shares(runs, label, task)]  # fmt: skip
            lines.append(f"| {words} | {task} | {' | '.join(cells)} |")
    legend = ("Of the clients that had a task and took part, how many took it over, in per cent: mean ± half of a 95 % "
              f"t-interval over {len(runs[ALWAYS])} seeds.")  # fmt: skip
    return [*lines, "", legend]


def with_table(page: str, runs: Runs) -> str:
    """The page with picture and table between their marks."""
    shown = "![share of clients that take a task over, by rounds](../images/replacements.png)"
    return between(page, BEGIN, END, [shown, "", *table(runs)])


def draw(runs: Runs, path: Path) -> None:
    """A panel for each margin, a line for each task."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    colours = ("#00408e", "#a81212", "#3f7d20", "#b0700c", "#6a3d9a", "#555555")
    places = [(first + last) / 2 for first, last in _spans(runs)]
    with mpl.rc_context({"font.size": 9}):
        figure, panels = plt.subplots(1, len(NAMED), figsize=(7.2, 3.4), sharey=True, layout="constrained")
        for panel, (label, words) in zip(panels, NAMED.items(), strict=True):
            for place, (task, colour) in enumerate(zip(tasks(runs), colours, strict=False)):
                found = [(x + 0.25 * place, one) for x, one in zip(places, shares(runs, label, task), strict=True)
                         if one]  # fmt: skip
                panel.errorbar([x for x, _ in found], [100 * one.mean for _, one in found],
                               yerr=[100 * one.half for _, one in found], fmt="-o", color=colour, label=task,
                               markersize=4, linewidth=1.4, elinewidth=0.7, capsize=2)  # fmt: skip
            panel.set_title(words)
            panel.set_xlabel("round")
            panel.set_ylim(0, 100)
            panel.grid(color="#e4e2dc")
            panel.set_axisbelow(True)
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylabel("taken over, % of clients with the task")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150, metadata={"Software": None})
        plt.close(figure)


if __name__ == "__main__":
    main()
