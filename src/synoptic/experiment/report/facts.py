"""What was run: a few words, the settings that set the compared apart, and every recipe in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synoptic.experiment.comparison.groups import Group
from synoptic.experiment.records import RunRecord, flat
from synoptic.experiment.report.parts import DASH, Block, Cell, Fold, Grid, plural, row
from synoptic.experiment.report.scene import Scene

HIDDEN = ("output", "keep", "compute.cache_dir", "seed")
"""Settings that say where something lay, or which seed it was, and not what was run."""


def facts(scene: Scene) -> Block:
    """Methods, data, base and versions; runs by name; differing settings; whole recipes."""
    return Block(
        "What was run", grids=(_overview(scene), *_apart(scene.groups)), notes=_troubles(scene),
        folds=(Fold("Runs and their hashes", _runs(scene)), Fold("All settings", _settings(scene.groups))),
    )  # fmt: skip


def words_about(groups: Sequence[Group]) -> str:
    """One line: ``3 methods on digits, 5 clients (dirichlet), tiny-clip, 3 seeds``."""
    data = list(dict.fromkeys(str(group.recipe.get("data", {}).get("source")) for group in groups))
    bases = list(dict.fromkeys(_last(group.recipe.get("model")) for group in groups))
    labels = list(dict.fromkeys(group.label for group in groups))
    seeds = {seed for group in groups for seed in group.seeds}
    methods = list(dict.fromkeys(str(group.recipe["method"]["name"]) for group in groups))
    what = methods[0] if len(methods) == 1 else plural(len(methods), "method")
    if len(labels) == 1:
        what = labels[0]
    elif len(labels) > len(methods):
        what += f" in {len(labels)} settings"
    return f"{what} on {', '.join(data)} · {', '.join(bases)} · {plural(len(seeds), 'seed')}"


def _overview(scene: Scene) -> Grid:
    groups = scene.groups
    clients = [plural(history.clients, "client") for history in scene.own_histories() if history.clients]
    recipes = [group.recipe for group in groups]
    runs = [run for group in groups for run in group.runs]
    models = [run.summary.get("model", {}) for run in runs]
    prints = list(dict.fromkeys(str(one["fingerprint"]) for one in models if "fingerprint" in one))
    rows = [
        row("data", _join(_data(recipe) for recipe in recipes)),
        row("clients", _join(clients)),
        row("base model", _join(_last(recipe.get("model")) for recipe in recipes)
            + (f", fingerprint {', '.join(prints)}" if prints else "")),
        row("rounds", _join(str(recipe.get("rounds")) for recipe in recipes)),
        row("seeds", _join(", ".join(map(str, group.seeds)) for group in groups)),
        row("made with", _join(_versions(run) for run in runs if run.summary)),
    ]  # fmt: skip
    return Grid((), tuple(one for one in rows if one[1].text), words=True, rows_linked=True)


def _data(recipe: Mapping[str, Any]) -> str:
    data = recipe.get("data", {})
    partition = data.get("partition") or {}
    path = f" {_last(data['path'])}" if data.get("path") else ""
    kind = str(partition.get("kind", ""))
    alpha = f" (alpha {partition['alpha']})" if "dirichlet" in kind and "alpha" in partition else ""
    return f"{data.get('source')}{path}, partition {kind}{alpha}"


def _versions(run: RunRecord) -> str:
    environment = run.summary.get("environment", {})
    packages = ", ".join(f"{name} {version}" for name, version in environment.get("packages", {}).items())
    return f"Python {environment.get('python', '?')}, {packages}; {plural(environment.get('threads', 0), 'thread')}"


def _runs(scene: Scene) -> Grid:
    rows = []
    for group in scene.groups:
        for run in group.runs:
            history = scene.history(run)
            state = (
                run.status if run.status == "finished" else f"{run.status} after {history.done} of {history.planned}"
            )
            rows.append(row(run.name, group.label, f"{run.seed}", str(run.summary.get("recipe_hash", DASH)),
                            str(run.summary.get("final_hash", DASH)), state))  # fmt: skip
    return Grid(("run", "method", "seed", "recipe hash", "final hash", "state"), tuple(rows), words=True, linked=6)


def _apart(groups: Sequence[Group]) -> tuple[Grid, ...]:
    """Settings that are not the same for all; the first column is the setting."""
    if len(groups) < 2:
        return ()
    table = [_shown(group.recipe) for group in groups]
    rows = [
        row(name, *(setting(one, name) for one in table)) for name in settings_apart(table) if name != "method.name"
    ]
    if not rows:
        return ()
    caption = f"Settings in which the methods differ; {DASH} where a method has none such."
    return (Grid(("setting", *(group.label for group in groups)), tuple(rows), caption, words=True),)


def settings_apart(table: Sequence[Mapping[str, Any]]) -> list[str]:
    """Dotted keys that are not the same in all, in order."""
    names = dict.fromkeys(name for one in table for name in one)
    return [name for name in names if len({repr(one.get(name)) for one in table}) > 1]


def _settings(groups: Sequence[Group]) -> Grid:
    table = [_shown(group.recipe) for group in groups]
    names = list(dict.fromkeys(name for one in table for name in one))
    rows = [row(name, *(setting(one, name) for one in table)) for name in names]
    return Grid(("setting", *(group.label for group in groups)), tuple(rows), words=True)


def setting(one: Mapping[str, Any], name: str) -> Cell:
    """A setting as text, or that there is none of this name."""
    if name not in one:
        return Cell(DASH, absent=True)
    value = one[name]
    if isinstance(value, list):
        return Cell(", ".join(map(str, value)))
    return Cell("none" if value is None else str(value).lower() if isinstance(value, bool) else _last(value))


def _shown(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in flat(recipe) if name not in HIDDEN}


def _last(value: Any) -> str:
    """A path's last part: where a folder lay is nobody's business, and not what it is."""
    text = str(value)
    return Path(text).name if text.startswith("/") else text


def _troubles(scene: Scene) -> tuple[str, ...]:
    notes = []
    for group in scene.groups:
        for run in group.runs:
            history = scene.history(run)
            if history.failures or history.failed_rounds:
                lost = (
                    f", and {plural(history.failed_rounds, 'round')} changed nothing" if history.failed_rounds else ""
                )
                times = plural(history.failures, "time")
                notes.append(f"{group.label}, seed {run.seed}: clients failed {times} in {history.done} rounds{lost}.")
    return tuple(notes)


def _join(texts: Any) -> str:
    return "; ".join(dict.fromkeys(texts))
