"""The first sentence of the page: what came out, computed, with what is not decided said as such."""

from __future__ import annotations

import re
from math import isnan

from synoptic.experiment.comparison.groups import Group, same_problem
from synoptic.experiment.comparison.statistics import Difference, difference
from synoptic.experiment.comparison.table import Column, Row, Table
from synoptic.experiment.comparison.text import is_clear
from synoptic.experiment.display.numbers import bytes_text
from synoptic.experiment.report.parts import FIXED, MINUS, plural
from synoptic.experiment.report.results import before_and_after, row_title
from synoptic.experiment.report.scene import Scene

ORDER = ("HM", "base", "local", "global")
"""The measure that methods are ranked by: the first that every row has, else the first that most have."""

NAMES = {"HM": "harmonic mean of base and novel accuracy", "base": "accuracy on base classes",
         "local": "accuracy on clients' own test data", "global": "accuracy among all classes"}  # fmt: skip
ASKED = NAMES | {"base": "accuracy on questions of trained kinds", "global": "accuracy on all test questions",
                 "local": "accuracy on clients' own test questions"}  # fmt: skip


def headline(scene: Scene) -> str:
    """What came out of one condition."""
    if scene.table is None:
        return _nothing_finished(scene)
    if len(scene.finished) == 1:
        return _tied_together(_one(scene.finished[0], scene.table))
    return _tied_together(_several(scene, scene.table))


def _tied_together(text: str) -> str:
    """Numbers keep their units and intervals on one line, and minus signs are such."""
    return re.sub(r"(?<![\w])-(?=\d)", MINUS, text).replace(" %", f"{FIXED}%").replace(" ± ", f"{FIXED}±{FIXED}")


def main_column(table: Table) -> Column | None:
    """The accuracy that methods are ranked by."""
    columns = {column.name: column for column in table.columns}
    known = [columns[name] for name in ORDER if name in columns]
    counts = {column.name: sum(column.name in one.cells for one in table.rows) for column in known}
    return max(known, key=lambda column: counts[column.name], default=None)


def _nothing_finished(scene: Scene) -> str:
    runs = [run for group in scene.groups for run in group.runs]
    done = sum(scene.history(run).done for run in runs)
    planned = sum(scene.history(run).planned for run in runs)
    return f"Nothing is finished yet: {plural(len(runs), 'run')} with {done} of {planned} rounds done."


def _one(group: Group, table: Table) -> str:
    rounds = int(group.runs[0].summary.get("rounds", 0))
    parts: list[str] = []
    for one in table.rows:
        for name in ("base", "novel", "local"):
            column = next((column for column in table.columns if column.name == name), None)
            if column is None or name not in one.cells or (name == "local" and len(parts) >= 2):
                continue
            parts.append(_moved(group, column, one, rounds, named=one.model != "shared"))
    if rounds == 0:
        return f"Nothing was trained (0 rounds): {', '.join(parts) or 'no accuracy was measured'}."
    sent = table.rows[0].cells.get("bytes")
    bytes_ = f" {bytes_text(sent.mean)} crossed the boundary." if sent is not None else ""
    over = f"{plural(rounds, 'round')} of {group.label}"
    seeds = f" (means over {plural(len(group.runs), 'seed')})" if len(group.runs) > 1 else ""
    return f"{over}{seeds}: {'; '.join(parts)}.{bytes_}"


def _moved(group: Group, column: Column, one: Row, rounds: int, named: bool) -> str:
    whose = "personal " if named else ""
    end = 100 * one.cells[column.name].mean
    start, change = before_and_after(group, column, one.model)
    if rounds == 0 or start is None or change is None:
        return f"{whose}{column.name} accuracy {end:.1f} %"
    how = "from" if abs(end - 100 * start.mean) >= 0.05 else "stayed at"
    if how == "stayed at":
        return f"{whose}{column.name} accuracy stayed at {end:.1f} %"
    doubt = "" if is_clear(change) or isnan(change.estimate.low) else ", a change that these seeds do not decide"
    return f"{whose}{column.name} accuracy {how} {100 * start.mean:.1f} to {end:.1f} %{doubt}"


def _several(scene: Scene, table: Table) -> str:
    column = main_column(table)
    rows = [one for one in table.rows if column is not None and column.name in one.cells
            and not isnan(one.cells[column.name].mean)]  # fmt: skip
    if column is None or not rows:
        return f"{plural(len(scene.finished), 'method')} compared; no accuracy that they share was measured."
    ranked = sorted(rows, key=lambda one: -one.cells[column.name].mean)
    best = ranked[0]
    value, name = best.cells[column.name], (ASKED if scene.asks else NAMES)[column.name]
    half = "" if isnan(value.low) else f" ± {100 * value.half:.1f}"
    tied = [one for one in ranked[1:] if one.cells[column.name].mean == value.mean]
    if tied:
        names = ", ".join(row_title(scene, one) for one in [best, *tied])
        return f"{names} share the highest {name}: {100 * value.mean:.1f} %{half}."
    first = (f"{row_title(scene, best)} has the highest {name}: {100 * value.mean:.1f} %{half}, "
             f"over {plural(len(best.seeds), 'seed')}.")  # fmt: skip
    return " ".join(filter(None, [first, _leads(scene, column, best, ranked)]))


def _leads(scene: Scene, column: Column, best: Row, ranked: list[Row]) -> str:
    """By how much it leads the baseline and the next, and whether that is decided."""
    base = next((one for one in ranked if one.is_baseline and one is not best), None)
    second = ranked[1] if len(ranked) > 1 else None
    roles: list[tuple[Row, str]] = []
    if base is not None:
        roles.append((base, "the baseline and the next" if base is second else "the baseline"))
    if second is not None and second is not base:
        roles.append((second, "the next"))
    leads = [f"{_lead(_paired(scene, best, other, column), best, other, column)} than {row_title(scene, other)}, {role}"
             for other, role in roles]  # fmt: skip
    return f"That is {'; and '.join(leads)}." if leads else ""


def _lead(apart: Difference | None, best: Row, other: Row, column: Column) -> str:
    points = 100 * (best.cells[column.name].mean - other.cells[column.name].mean)
    if apart is None:
        return f"{points:.1f} points more (not paired)"
    one = apart.estimate
    if isnan(one.low):
        return f"{100 * one.mean:.1f} points more (one seed: not decided)"
    verdict = "" if is_clear(apart) else ", not decided"
    return f"{100 * one.mean:.1f} points more (95 % interval {100 * one.low:.1f} to {100 * one.high:.1f}{verdict})"


def _paired(scene: Scene, one: Row, other: Row, column: Column) -> Difference | None:
    mine, theirs = scene.done(one.label), scene.done(other.label)
    if mine is None or theirs is None or not same_problem(mine, theirs):
        return None
    first = {run.seed: run.measures().get(column.full(one.model)) for run in mine.runs}
    second = {run.seed: run.measures().get(column.full(other.model)) for run in theirs.runs}
    pairs = [(a, b) for seed, a in first.items() if a is not None and (b := second.get(seed)) is not None]
    return difference([a for a, _ in pairs], [b for _, b in pairs]) if pairs else None
