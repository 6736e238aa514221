"""What methods log besides the loss: reward, divergence, entropy, router load, and whatever else is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from synoptic.experiment.report.curves import Line, lines_of, panel
from synoptic.experiment.report.history import LOG, LOSS, Curve
from synoptic.experiment.report.parts import Block, Figure, plural
from synoptic.experiment.report.scene import Scene, Series
from synoptic.experiment.report.terms import WORDS

FIRST = ("reward", "kl", "entropy", "zero_variance", "clip_fraction", "router")
MOST = 8
"""Parts of one family (``router/<client>``) that have lines of their own; of more, quartiles are drawn."""


def logged(scene: Scene) -> Block | None:
    """A panel for each logged number, reward and divergence first; None where only the loss was logged."""
    names = {name for history in scene.own_histories() for name in history.curves
             if name.startswith(LOG) and name != LOSS}  # fmt: skip
    plain = [name for name in names if "/" not in name.removeprefix(LOG)]
    families = {name.removeprefix(LOG).split("/")[0] for name in names} - {name.removeprefix(LOG) for name in plain}
    figures: list[tuple[str, Figure]] = []
    for name in plain:
        word = name.removeprefix(LOG)
        figure = panel(scene, word, name, lines_of(scene, name), _about(word))
        figures += [(word, figure)] if figure is not None else []
    for family in families:
        figures += [(family, figure) for figure in _family(scene, family, names)]
    figures.sort(key=lambda one: (FIRST.index(one[0]) if one[0] in FIRST else len(FIRST), one[0]))
    if not figures:
        return None
    rl = any(word in FIRST for word, _ in figures)
    about = "Numbers that the method logged in every round, mean over seeds" + (
        ", those of its rewards first." if rl else "."
    )
    return Block("Reinforcement learning and other logged numbers" if rl else "Other logged numbers", (about,),
                 figures=tuple(figure for _, figure in figures))  # fmt: skip


def _family(scene: Scene, family: str, names: set[str]) -> list[Figure]:
    """One panel for each method: a line for each part, or quartiles of many."""
    figures = []
    for group in scene.groups:
        runs = [scene.history(run).curves for run in group.runs if run.status == "finished"]
        runs = runs or [scene.history(run).curves for run in group.runs]
        parts = sorted({name for curves in runs for name in curves if name in names
                        and name.startswith(f"{LOG}{family}/")})  # fmt: skip
        if not parts:
            continue
        title = family if scene.single else f"{family} ({group.label})"
        lines = _parts(family, parts, runs) if len(parts) <= MOST else _quartiles(parts, runs)
        more = "" if len(parts) <= MOST else f" {plural(len(parts), 'part')}: lowest, quartiles and highest are drawn."
        figure = panel(scene, title, f"{LOG}{family}", lines, _about(family) + more)
        figures += [figure] if figure is not None else []
    return figures


def _parts(family: str, parts: Sequence[str], runs: Sequence[Mapping[str, Curve]]) -> list[Line]:
    return [
        Line(Series(name, "shared", name, place), name, tuple(curves[part] for curves in runs if part in curves))
        for place, part in enumerate(parts)
        for name in [part.removeprefix(f"{LOG}{family}/")]
    ]


def _quartiles(parts: Sequence[str], runs: Sequence[Mapping[str, Curve]]) -> list[Line]:
    import numpy as np

    names = {"lowest": 0.0, "lower quartile": 0.25, "median": 0.5, "upper quartile": 0.75, "highest": 1.0}
    result = []
    for place, (name, share) in enumerate(names.items()):
        seeds = []
        for curves in runs:
            known = [curves[part] for part in parts if part in curves]
            rounds = sorted({round_ for curve in known for round_ in curve})
            seeds.append({round_: float(np.quantile([curve[round_] for curve in known if round_ in curve], share))
                          for round_ in rounds})  # fmt: skip
        result.append(Line(Series(name, "shared", name, place), name, tuple(seed for seed in seeds if seed)))
    return result


def _about(word: str) -> str:
    return WORDS.get(word, f"A number that the method logged as {word}.")
