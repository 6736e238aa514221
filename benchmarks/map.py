"""Which method for which sites: runs the suites in `benchmarks/maps` and draws them: ``python -m benchmarks.map``.

    python -m benchmarks.map [--only classes,shots] [--jobs 2] [--pages]

Each suite varies one thing that sets sites apart. Written: `benchmarks/results/maps/NAME.json`,
`docs/which-method.md` and its picture. ``--pages`` writes these two again from the files without running anything.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.results import ROOT, read_result, write_result
from synoptic.core.files import write_text
from synoptic.experiment.comparison.groups import Group
from synoptic.experiment.comparison.matrix import run_suite
from synoptic.experiment.comparison.statistics import LEAST, Difference, Estimate, difference, estimate
from synoptic.experiment.comparison.suite import Suite, read_suite
from synoptic.experiment.display import output
from synoptic.experiment.display.matrix import LineMatrix

MAPS = ROOT / "benchmarks" / "maps"
RESULTS = ROOT / "benchmarks" / "results" / "maps"
PAGE = ROOT / "docs" / "which-method.md"
PICTURE = ROOT / "docs" / "images" / "which-method.svg"
AXES = ("classes", "shots", "steps", "styles")
MEASURE = "shared/hm/accuracy/mean"
FLOOR, USUAL = "zeroshot", "fedavg"
COLOURS = {
    "zeroshot": "#85888d", "fedavg": "#00408e", "stepmatched": "#0094cb", "text-only": "#bd7b09",
    "decoupled": "#217448", "feddtl": "#a81212", "averaged": "#8e4576",
}  # fmt: skip

HEAD = """# Which method for my sites?

What makes sites differ is varied, one thing at a time, on the generated world (ten classes trained, ten novel), and
FedDTL, its parts and its controls are compared with FedAvg on the image tower. Shown is the harmonic mean (HM) of base
and novel accuracy of the shared model after the last of ten rounds; bars are 95 % t-intervals over five seeds. Written
by `python -m benchmarks.map` from the suites in `benchmarks/maps`; no number is typed by hand. One world, one small
base: the shape of the curves is the message, not the heights.

![HM by classes at a site, examples, passes and styles](images/which-method.svg)

* **fedavg**: LoRA on the image tower, averaged. **stepmatched**: LoRA on both towers, averaged, with as many optimiser
  steps as FedDTL takes in all. **text-only**: sites send untouched features, the server tunes names.
* **decoupled**: FedDTL without its second stage. **feddtl**: with it. **averaged**: names are tuned to what the
  *averaged* encoder sees.
"""


@dataclass(frozen=True)
class Point:
    """One method under one condition: its HM, and how far it is from FedAvg's and from doing nothing."""

    hm: Estimate
    over_usual: Difference | None
    over_floor: Difference | None


Axis = dict[str, dict[str, Point]]
"""Condition -> method -> point."""


def main() -> None:
    """See the module's description."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="names of suites, separated by commas")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument("--output", type=Path, default=Path("runs/maps"), help="where runs lie")
    parser.add_argument("--pages", action="store_true", help="write the page again, run nothing")
    options = parser.parse_args()
    os.chdir(ROOT)
    suites = [read_suite(MAPS / f"{name}.yaml") for name in AXES]
    for suite in suites:
        if options.pages or (options.only and suite.name not in options.only.split(",")):
            continue
        print(suite.name, flush=True)
        write_result(run_suite(suite, options.output, [LineMatrix(output())], options.jobs), RESULTS)
    done = [suite for suite in suites if (RESULTS / f"{suite.name}.json").exists()]
    axes = [(suite, points(read_result(suite, RESULTS))) for suite in done]
    draw(axes, PICTURE)
    write_text(PAGE, page(axes))
    print(f"wrote {PAGE.relative_to(ROOT)} and {PICTURE.relative_to(ROOT)}")


def points(groups: Sequence[Group]) -> Axis:
    """HM of every method under every condition, and its paired differences."""
    axis: Axis = {}
    for condition in dict.fromkeys(group.condition for group in groups):
        here = {group.label: group for group in groups if group.condition == condition}
        axis[condition] = {label: _point(group, here) for label, group in here.items()}
    return axis


def _point(group: Group, here: dict[str, Group]) -> Point:
    own = _by_seed(group)
    others = [here[name] if name in here and here[name] is not group else None for name in (USUAL, FLOOR)]
    apart = [_apart(own, _by_seed(other)) if other is not None else None for other in others]
    return Point(estimate(list(own.values())), *apart)


def _by_seed(group: Group) -> dict[int, float]:
    return {run.seed: float(run.summary["metrics"][MEASURE]) for run in group.runs}


def _apart(own: dict[int, float], other: dict[int, float]) -> Difference:
    both = [seed for seed in own if seed in other]
    return difference([own[seed] for seed in both], [other[seed] for seed in both])


def sure(apart: Difference | None) -> int:
    """1 if better beyond the interval, -1 if worse, 0 if these seeds cannot tell."""
    if apart is None or len(apart.estimate.values) < LEAST:
        return 0
    return int(apart.estimate.low > 0) - int(apart.estimate.high < 0)


def page(axes: Sequence[tuple[Suite, Axis]]) -> str:
    """The whole page."""
    lines = [HEAD]
    for suite, axis in axes:
        lines += [f"## {suite.title}", "", suite.about, "", *_table(axis), ""]
        lines += [f"* {sentence}" for sentence in verdicts(axis)]
        lines += ["", f"Suite `{suite.name}`, hash `{suite.hash}`.", ""]
    return "\n".join(lines)


def _table(axis: Axis) -> list[str]:
    labels = list(next(iter(axis.values())))
    head = ["| | " + " | ".join(labels) + " |", "|---" * (len(labels) + 1) + "|"]
    rows = [
        f"| {name} | " + " | ".join(_cell(points[label]) for label in labels) + " |" for name, points in axis.items()
    ]
    legend = ("HM in per cent; in brackets the paired difference to FedAvg with its 95 % interval, bold where it "
              "excludes zero; † where HM is below doing nothing beyond the interval.")  # fmt: skip
    return [*head, *rows, "", legend]


def _cell(point: Point) -> str:
    text = f"{100 * point.hm.mean:.1f}"
    if sure(point.over_floor) < 0:
        text += "†"
    if point.over_usual is None:
        return text
    gap = point.over_usual.estimate
    inside = f"{100 * gap.mean:+.1f} [{100 * gap.low:.1f}, {100 * gap.high:.1f}]"
    return f"{text} ({f'**{inside}**' if sure(point.over_usual) else inside})"


def verdicts(axis: Axis) -> list[str]:
    """What can be said of each condition beyond the intervals."""
    return [f"**{name}**: {_said(points)}" for name, points in axis.items()]


def _said(points: dict[str, Point]) -> str:
    better = [label for label, point in points.items() if label != FLOOR and sure(point.over_usual) > 0]
    worse = [label for label, point in points.items() if label != FLOOR and sure(point.over_usual) < 0]
    sunk = [label for label, point in points.items() if sure(point.over_floor) < 0]
    parts = [f"better than FedAvg: {', '.join(better)}" if better else "nothing is surely better than FedAvg"]
    parts += [f"worse than FedAvg: {', '.join(worse)}"] if worse else []
    parts += [f"below doing nothing: {', '.join(sunk)}"] if sunk else []
    return "; ".join(parts) + "."


def draw(axes: Sequence[tuple[Suite, Axis]], path: Path) -> None:
    """Small multiples, one for each axis."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    with mpl.rc_context({"svg.hashsalt": "synoptic", "svg.fonttype": "path", "font.size": 9}):
        figure, panels = plt.subplots(2, 2, figsize=(9.2, 7.2), sharey=True, layout="constrained")
        for panel, (suite, axis) in zip(panels.flat, axes, strict=False):
            _panel(panel, suite, axis)
        for panel in list(panels.flat)[len(axes) :]:
            panel.set_visible(False)
        handles, labels = panels.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
        figure.supylabel("HM of base and novel accuracy, %")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _panel(panel: Any, suite: Suite, axis: Axis) -> None:
    labels = list(next(iter(axis.values())))
    for place, label in enumerate(labels):
        there = [axis[name][label].hm for name in axis]
        shift = (place - (len(labels) - 1) / 2) * 0.05
        at = [number + shift for number in range(len(axis))]
        look = {"linestyle": "--", "marker": ""} if label == FLOOR else {"linestyle": "-", "marker": "o"}
        panel.errorbar(at, [100 * e.mean for e in there], [100 * e.half for e in there], **look, label=label,
                       color=COLOURS[label], markersize=4, linewidth=1.4, elinewidth=0.9, capsize=2)  # fmt: skip
    panel.set_xticks(range(len(axis)), list(axis))
    panel.set_title(suite.title, fontsize=10)
    panel.grid(axis="y", color="#e4e2dc")
    panel.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
