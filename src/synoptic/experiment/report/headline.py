"""The first sentence of the page: what came out, computed, with what is not decided said as such."""

from __future__ import annotations

from math import isnan

from synoptic.experiment.comparison.columns import QUANTITIES, Column
from synoptic.experiment.comparison.groups import Group, same_problem
from synoptic.experiment.comparison.statistics import Difference, difference
from synoptic.experiment.comparison.table import Row, Table
from synoptic.experiment.comparison.text import is_clear
from synoptic.experiment.display.numbers import bytes_text
from synoptic.experiment.report.parts import FIXED, plural, signed
from synoptic.experiment.report.results import before_and_after, row_title
from synoptic.experiment.report.scene import Scene

ORDER = ("skill", "HM", "base", "local", "global")
"""The measure that methods are ranked by: the first that every row has, else the first that most have."""

NAMES = {"HM": "harmonic mean of base and novel {}", "base": "{} on base classes",
         "local": "{} on clients' own test data", "global": "{} among all classes",
         "skill": "skill, mean over tasks"}  # fmt: skip
ASKED = NAMES | {"base": "{} on questions of trained kinds", "global": "{} on all test questions",
                 "local": "{} on clients' own test questions"}  # fmt: skip
"""What columns of `ORDER` are called; the bracket stands for the quantity."""


def headline(scene: Scene) -> str:
    """What came out of one condition."""
    if scene.table is None:
        return _nothing_finished(scene)
    if len(scene.finished) == 1:
        return _tied_together(_one(scene.finished[0], scene.table))
    return _tied_together(_several(scene, scene.table))


def _tied_together(text: str) -> str:
    """Numbers keep their units and intervals on one line, and minus signs are such."""
    return signed(text).replace(" %", f"{FIXED}%").replace(" ± ", f"{FIXED}±{FIXED}")


def main_column(table: Table) -> Column | None:
    """The measure that methods are ranked by; utilities are about clients, so their own test data come first."""
    columns = {column.name: column for column in table.columns}
    first = ("local",) if "local" in columns and columns["local"].quantity == "utility" else ()
    known = [columns[name] for name in (*first, *ORDER) if name in columns]
    counts = {column.name: sum(column.name in one.cells for one in table.rows) for column in known}
    return max(known, key=lambda column: counts[column.name], default=None)


def measure_name(column: Column, asks: bool) -> str:
    """A column of `ORDER` in words: ``accuracy on base classes``; ``asks`` says that data are questions."""
    what = QUANTITIES.get(column.quantity, ("", column.quantity))[1]
    return (ASKED if asks else NAMES)[column.name].format(what)


def _nothing_finished(scene: Scene) -> str:
    runs = [run for group in scene.groups for run in group.runs]
    done = sum(scene.history(run).done for run in runs)
    planned = sum(scene.history(run).planned for run in runs)
    return f"Nothing is finished yet: {plural(len(runs), 'run')} with {done} of {planned} rounds done."


def _one(group: Group, table: Table) -> str:
    rounds = int(group.runs[0].summary.get("rounds", 0))
    parts: list[str] = []
    for one in table.rows:
        for name in ("skill", "base", "novel", "local"):
            column = next((column for column in table.columns if column.name == name), None)
            if column is None or name not in one.cells or (name == "local" and len(parts) >= 2):
                continue
            both = column.name == "skill" and len(table.rows) > 1
            parts.append(_moved(group, column, one, rounds, named=both or one.model != "shared"))
    if rounds == 0:
        return f"Nothing was trained (0 rounds): {', '.join(parts) or 'no accuracy was measured'}."
    sent = table.rows[0].cells.get("bytes")
    bytes_ = f" {bytes_text(sent.mean)} crossed the boundary." if sent is not None else ""
    over = f"{plural(rounds, 'round')} of {group.label}"
    seeds = f" (means over {plural(len(group.runs), 'seed')})" if len(group.runs) > 1 else ""
    return f"{over}{seeds}: {'; '.join(parts)}.{bytes_}"


def _moved(group: Group, column: Column, one: Row, rounds: int, named: bool) -> str:
    what = (f"{one.model} " if named else "") + (" ".join(dict.fromkeys([column.name, column.quantity])))
    unit, scale, least = (" %", 100, 0.05) if column.kind == "share" else ("", 1, 0.005)
    end = one.cells[column.name].mean
    start, change = before_and_after(group, column, one.model)
    if rounds == 0 or start is None or change is None:
        return f"{what} {_amount(column, end)}{unit}"
    if not abs(scale * end - scale * start.mean) >= least:
        return f"{what} stayed at {_amount(column, end)}{unit}"
    doubt = "" if is_clear(change) or isnan(change.estimate.low) else ", a change that these seeds do not decide"
    return f"{what} from {_amount(column, start.mean)} to {_amount(column, end)}{unit}{doubt}"


def _amount(column: Column, value: float) -> str:
    """A share in per cent, or a number, without unit."""
    return f"{100 * value:.1f}" if column.kind == "share" else f"{round(value, 2) + 0.0:.2f}"


def _several(scene: Scene, table: Table) -> str:
    column = main_column(table)
    rows = [one for one in table.rows if column is not None and column.name in one.cells
            and not isnan(one.cells[column.name].mean)]  # fmt: skip
    if column is None or not rows:
        return f"{plural(len(scene.finished), 'method')} compared; no accuracy that they share was measured."
    ranked = sorted(rows, key=lambda one: -one.cells[column.name].mean)
    best = ranked[0]
    value, name = best.cells[column.name], measure_name(column, scene.asks)
    unit = " %" if column.kind == "share" else ""
    half = "" if isnan(value.low) else f" ± {_amount(column, value.half)}"
    tied = [one for one in ranked[1:] if one.cells[column.name].mean == value.mean]
    if tied:
        names = ", ".join(row_title(scene, one) for one in [best, *tied])
        return f"{names} share the highest {name}: {_amount(column, value.mean)}{unit}{half}."
    first = (f"{row_title(scene, best)} has the highest {name}: {_amount(column, value.mean)}{unit}{half}, "
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
    more = "points more" if column.kind == "share" else "more"
    if apart is None:
        lead = best.cells[column.name].mean - other.cells[column.name].mean
        return f"{_amount(column, lead)} {more} (not paired)"
    one = apart.estimate
    if isnan(one.low):
        return f"{_amount(column, one.mean)} {more} (one seed: not decided)"
    verdict = "" if is_clear(apart) else ", not decided"
    low, high = _amount(column, one.low), _amount(column, one.high)
    return f"{_amount(column, one.mean)} {more} (95 % interval {low} to {high}{verdict})"


def _paired(scene: Scene, one: Row, other: Row, column: Column) -> Difference | None:
    mine, theirs = scene.done(one.label), scene.done(other.label)
    if mine is None or theirs is None or not same_problem(mine, theirs):
        return None
    first = {run.seed: run.measures().get(column.full(one.model)) for run in mine.runs}
    second = {run.seed: run.measures().get(column.full(other.model)) for run in theirs.runs}
    pairs = [(a, b) for seed, a in first.items() if a is not None and (b := second.get(seed)) is not None]
    return difference([a for a, _ in pairs], [b for _, b in pairs]) if pairs else None
