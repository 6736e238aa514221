"""Runs the recipes over several seeds and writes what came of it: `make results`.

    python -m benchmarks.results [--seeds 3] [--only digits,world,...]

Each suite is a recipe (or plain overrides) times methods times seeds. Runs go to ``runs/results`` and are taken up
again if they are there. Written: ``benchmarks/results/recipes.json`` (one row a run: suite, method, recipe hash, seed,
metrics, bytes, seconds, final hash, and the revision it ran at) and ``docs/results.md``, the tables.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synoptic.core.files import read_json, write_json, write_text
from synoptic.experiment.recipe import load_recipe
from synoptic.experiment.runner import resume, run, run_name

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "recipes.json"
PAGE = ROOT / "docs" / "results.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- written by `make results` -->\n", "<!-- end -->"
METHODS = ("zeroshot", "local", "fedavg", "fedprox", "promptfl", "centralized")
COLUMNS = {
    "local": "local/accuracy/mean",
    "worst client": "local/accuracy/worst",
    "base": "base/accuracy/mean",
    "novel": "novel/accuracy/mean",
    "HM": "hm/accuracy/mean",
    "global": "global/accuracy/mean",
}


@dataclass(frozen=True)
class Suite:
    """One setting: its name, what is laid over a method or recipe file, which real data it needs, a remark."""

    name: str
    title: str
    settings: tuple[str, ...] = ()
    recipe: str | None = None
    needs: str | None = None
    remark: str = ""


CHOSEN = (
    "Which blocks the recipe adapts was chosen after looking at the test accuracy of `fedavg` with one seed; the other "
    "settings are defaults. Compare methods here, not with figures of an untouched test set."
)

SUITES = (
    Suite("digits", "Handwritten digits, Dirichlet(0.5), `synoptic run METHOD`"),
    Suite("world-classes", "The world, disjoint classes, `synoptic run METHOD data=world`", ("data=world",)),
    Suite("world-dirichlet", "The world, Dirichlet(0.1), 20 rounds",
          ("data=world", "data.partition=dirichlet", "data.partition.alpha=0.1", "rounds=20")),
    Suite("fashion-mnist", "Fashion-MNIST, `recipes/fashion_mnist.yaml`", recipe="recipes/fashion_mnist.yaml",
          needs="fashion_mnist", remark=CHOSEN),
    Suite("emoji-domains", "Emoji of six vendors, one each, `recipes/emoji_domains.yaml`",
          recipe="recipes/emoji_domains.yaml", needs="emoji_domains", remark=CHOSEN),
)  # fmt: skip


def main() -> None:
    """See the module's description."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="names of suites, separated by commas")
    options = parser.parse_args()
    revision = _revision()
    chosen = [suite for suite in SUITES if not options.only or suite.name in options.only.split(",")]
    old = read_json(RESULTS)["runs"] if RESULTS.exists() else []
    names = {suite.name for suite in chosen if _data_of(suite) is not None}
    rows = [row for row in old if row["suite"] not in names]
    for suite in chosen:
        if suite.name not in names:
            print(f"{suite.name}: skipped, SYNOPTIC_SHARED_DATA has no {suite.needs}")
            continue
        rows += [_row(suite, method, seed, revision) for method in METHODS for seed in range(options.seeds)]
    order = [suite.name for suite in SUITES]
    rows.sort(key=lambda row: (order.index(row["suite"]), METHODS.index(row["method"]), row["seed"]))
    write_json(RESULTS, {"runs": rows})
    write_text(PAGE, page(rows))
    write_text(README, with_table(README.read_text(encoding="utf-8"), rows))
    print(f"wrote {RESULTS.relative_to(ROOT)}, {PAGE.relative_to(ROOT)} and the table in {README.relative_to(ROOT)}")


def _data_of(suite: Suite) -> tuple[str, ...] | None:
    """Overrides that point to the suite's data; None when they are absent."""
    if suite.needs is None:
        return ()
    folder = Path(os.environ.get("SYNOPTIC_SHARED_DATA") or "absent") / suite.needs
    return (f"data.path={folder}",) if folder.is_dir() else None


def _row(suite: Suite, method: str, seed: int, revision: str) -> dict[str, Any]:
    settings = [*suite.settings, *(_data_of(suite) or ()), f"seed={seed}", "output=runs/results"]
    settings += ["compute.threads=1"]
    if suite.recipe is None:
        recipe = load_recipe(method, settings)
    else:
        recipe = load_recipe(ROOT / suite.recipe, [*settings, f"method={method}", *_of_method(method)])
    folder = Path(recipe.output) / run_name(recipe)
    result = resume(folder) if folder.exists() else run(recipe)
    # What this process was made of when it began; a run that is taken up again keeps its own.
    mark = result.folder / "revision.txt"
    if not mark.exists():
        write_text(mark, revision)
    summary = result.summary
    print(f"{suite.name} {method} seed {seed}: {summary['seconds']['total']:.1f} s", flush=True)
    kept = ("method", "recipe_hash", "seed", "rounds", "final_hash", "metrics", "bytes", "seconds", "environment")
    return {"suite": suite.name, "revision": mark.read_text(), **{key: summary[key] for key in kept}}


def _of_method(method: str) -> tuple[str, ...]:
    # A recipe file is written for one method; under another, what is trained is that method's own choice.
    return ("adapter=null",) if method == "promptfl" else ()


def _revision() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return answer.stdout.strip()


def page(rows: list[dict[str, Any]]) -> str:
    """The tables as Markdown: mean over seeds, and half the width of a 95 % t-interval."""
    lines = [
        "# Results",
        "",
        "Written by `make results` from `benchmarks/results/recipes.json`; no number is typed by hand. Accuracy in",
        "per cent after the last round, mean over seeds ± half of a 95 % t-interval. For the method `local` all",
        "columns are of the clients' own models (pooled test sets: the mean over clients), for the others of the",
        "shared one. MB are up and down, for all clients and rounds; seconds are of training and evaluation on one",
        "thread. What the columns mean: [how we evaluate](evaluation.md).",
        "",
    ]
    for suite in SUITES:
        of_suite = [row for row in rows if row["suite"] == suite.name]
        if of_suite:
            lines += [f"## {suite.title}", "", *_table(of_suite), "", *((suite.remark, "") if suite.remark else ())]
    return "\n".join(lines)


def with_table(readme: str, rows: list[dict[str, Any]]) -> str:
    """The README with the digits' table between its marks."""
    head, _, rest = readme.partition(BEGIN)
    _, _, tail = rest.partition(END)
    table = _table([row for row in rows if row["suite"] == "digits"])
    return head + BEGIN + "\n".join(["", *table, ""]) + "\n" + END + tail


def _table(rows: list[dict[str, Any]]) -> list[str]:
    shown = [name for name, key in COLUMNS.items() if any(f"shared/{key}" in row["metrics"] for row in rows)]
    lines = ["| method | " + " | ".join(shown) + " | MB | seconds |", "|---" * (len(shown) + 3) + "|"]
    for method in METHODS:
        own = [row for row in rows if row["method"] == method]
        if not own:
            continue
        model = "personal" if method == "local" else "shared"
        cells = [_cell([100 * row["metrics"][f"{model}/{COLUMNS[name]}"] for row in own]) for name in shown]
        moved = np.mean([row["bytes"]["up"] + row["bytes"]["down"] for row in own]) / 1e6
        seconds = np.mean([row["seconds"]["total"] for row in own])
        lines.append(f"| {method} | " + " | ".join(cells) + f" | {moved:.2f} | {seconds:.1f} |")
    seeds = sorted({row["seed"] for row in rows})
    return [*lines, "", f"Seeds {', '.join(map(str, seeds))}."]


def _cell(values: list[float]) -> str:
    from scipy import stats

    if len(values) < 2:
        return f"{values[0]:.1f}"
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return f"{np.mean(values):.1f} ± {half:.1f}"


if __name__ == "__main__":
    main()
