"""Where and when TAP takes over what the federation does better: ``python -m benchmarks.replacements``.

    python -m benchmarks.replacements [--jobs 2] [--output runs/claims] [--quick] [--page]

The runs of the suite `world` of `claims/tap.yaml`; those that `synoptic claims tap` has left there are read. Written:
`benchmarks/results/replacements.json`, `docs/images/replacements.png` and the table in `docs/methods/tap.md`.
``--quick`` proves that it runs and writes into the folder of its runs alone; ``--page`` writes picture and table again
from the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.paged import Paged, Runs, part_of
from benchmarks.results import ROOT
from synoptic.experiment.comparison.statistics import Estimate, estimate
from synoptic.experiment.records import RunRecord

CLAIMS = ROOT / "claims" / "tap.yaml"
PREFIX = "replacements/"
ALWAYS = "adopt"
"""Takes everything over in every round, so its counts are how many clients with a task took part."""

NAMED = {"tap": "the paper's margin", "wide": "a wide margin"}
SPAN = 5
"""Rounds that are told together."""


def of_run(run: RunRecord) -> dict[str, dict[str, list[int]]]:
    """``counts`` of each task by round."""
    return {"counts": counts(run.events())}


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


REPLACEMENTS = Paged(
    "replacements", __doc__.splitlines()[0], ROOT / "docs" / "methods" / "tap.md",
    lambda: part_of(CLAIMS, "world", (ALWAYS, *NAMED)), Path("runs/claims"), of_run, table, draw,
    "share of clients that take a task over, by rounds",
)  # fmt: skip

if __name__ == "__main__":
    REPLACEMENTS.main()
