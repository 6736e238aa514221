"""What two sites of opposed tastes can both have: ``python -m benchmarks.pareto``.

    python -m benchmarks.pareto [--jobs 2] [--quick] [--page]

Runs `benchmarks/pareto.yaml`: the base, one policy for a fixed mixture of two sites' rewards at several weights, and
one policy that is told whose question it answers. Written: `benchmarks/results/pareto.json`, `docs/images/pareto.png`
and the table in `docs/methods/mor.md`. ``--quick`` proves that it runs and writes into the folder of its runs alone;
``--page`` writes picture and table again from the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.paged import Paged, Runs
from benchmarks.results import ROOT
from synoptic.experiment.comparison.statistics import Estimate, estimate
from synoptic.experiment.comparison.suite import read_suite
from synoptic.experiment.records import RunRecord

SUITE = ROOT / "benchmarks" / "pareto.yaml"
MEASURES = ("personal/local/utility", "shared/local/utility")
"""What a site has: its own objective's answers, where there are objectives."""
BASE, OBJECTIVE = "base", "objective"
WEIGHTS = ("0", "1/4", "1/2", "3/4", "1")
COLOURS = {BASE: "#85888d", OBJECTIVE: "#a81212", "mixed": "#00408e"}
NEAR, OFFSETS = 0.15, ((6, 5), (8, -11), (-20, -12))
"""Points nearer than this have their words in different places, in points of type."""


def of_run(run: RunRecord) -> dict[str, list[float]]:
    """What either site has of a run, the first one first."""
    return {"utility": [_of_site(own) for own in run.summary["clients"].values()]}


def _of_site(measured: Mapping[str, float]) -> float:
    return float(next(measured[name] for name in MEASURES if name in measured))


def of_sites(runs: Runs, label: str) -> tuple[Estimate, ...]:
    """What the first and the second site have of an entry."""
    both = zip(*(run["utility"] for run in runs[label]), strict=True)
    return tuple(estimate(list(values)) for values in both)


def mean_of(runs: Runs, label: str) -> Estimate:
    """What both have of it on average."""
    return estimate([sum(run["utility"]) / len(run["utility"]) for run in runs[label]])


def table(runs: Runs) -> list[str]:
    """Utilities of both sites and their mean."""
    named = {BASE: "the base", **{weight: f"mixed, {weight} for the second site" for weight in WEIGHTS},
             OBJECTIVE: "told whose question it is"}  # fmt: skip
    lines = ["| one policy | first site | second site | mean |", "|---|---|---|---|"]
    for label, words in named.items():
        cells = [f"{one.mean:.2f} ± {one.half:.2f}" for one in (*of_sites(runs, label), mean_of(runs, label))]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    seeds = len(runs[BASE])
    legend = f"True utility on a site's own test questions, mean ± half of a 95 % t-interval over {seeds} seeds."
    return [*lines, "", legend]


def draw(runs: Runs, path: Path) -> None:
    """The second site's utility over the first one's: mixtures as a line, the others as points."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    with mpl.rc_context({"font.size": 9}):
        figure, panel = plt.subplots(figsize=(5.6, 4.8), layout="constrained")
        _series(panel, runs, WEIGHTS, "mixed", "one mixture of rewards (weight of the second site)", "-o")
        for label, words, mark in ((OBJECTIVE, "told whose question it is", "D"), (BASE, "the base", "s")):
            _series(panel, runs, [label], label, words, mark)
        panel.set_xlabel("utility of the first site")
        panel.set_ylabel("utility of the second site")
        panel.grid(color="#e4e2dc")
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside lower center", ncols=1, frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150, metadata={"Software": None})
        plt.close(figure)


def _series(panel: Any, runs: Runs, labels: Sequence[str], colour: str, words: str, look: str) -> None:
    first, second = zip(*(of_sites(runs, label) for label in labels), strict=True)
    panel.errorbar([one.mean for one in first], [one.mean for one in second], xerr=[one.half for one in first],
                   yerr=[one.half for one in second], fmt=look, color=COLOURS[colour], label=words, markersize=5,
                   linewidth=1.4, elinewidth=0.8, capsize=2)  # fmt: skip
    points = [(x.mean, y.mean) for x, y in zip(first, second, strict=True)]
    for place, (label, point) in enumerate(zip(labels, points, strict=True)):
        if len(labels) > 1:
            beside = sum(max(abs(point[0] - x), abs(point[1] - y)) < NEAR for x, y in points[:place])
            panel.annotate(label, point, textcoords="offset points", xytext=OFFSETS[min(beside, len(OFFSETS) - 1)],
                           color=COLOURS[colour])  # fmt: skip


PARETO = Paged(
    "pareto", __doc__.splitlines()[0], ROOT / "docs" / "methods" / "mor.md", lambda: read_suite(SUITE),
    Path("runs/pareto"), of_run, table, draw, "utility of the first site against that of the second",
)  # fmt: skip

if __name__ == "__main__":
    PARETO.main()
