"""From a request to scenes, one for each condition; what was asked for by name is checked first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from synoptic.core.errors import SynopticError, nearest
from synoptic.experiment.comparison.columns import MODELS
from synoptic.experiment.comparison.groups import Group
from synoptic.experiment.comparison.table import by_task, tabulate
from synoptic.experiment.report.history import LOG, History
from synoptic.experiment.report.scene import (
    Scene,
    Series,
    number_series,
    only_finished,
    place_of,
    read_histories,
)


def make_scenes(groups: Sequence[Group], baseline: str | None = None, metrics: Sequence[str] = ()) -> list[Scene]:
    """One scene for each condition, in the order of their first groups.

    Raises:
        SynopticError: a baseline that is no label, or a metric that no run has.
    """
    histories = read_histories(groups)
    _check_baseline(groups, baseline)
    _check_metrics(groups, histories, metrics)
    series = number_series(groups, histories)
    return [
        _scene(condition, f"c{place}", [group for group in groups if group.condition == condition], series, histories,
               baseline, metrics)
        for place, condition in enumerate(dict.fromkeys(group.condition for group in groups))
    ]  # fmt: skip


def _scene(
    condition: str, name: str, groups: Sequence[Group], series: tuple[Series, ...], histories: Mapping[str, History],
    baseline: str | None, metrics: Sequence[str],
) -> Scene:  # fmt: skip
    finished = only_finished(groups)
    asked = tuple(one for one in metrics if _spellings(one) & _known(groups, histories))
    scene = Scene(condition, name, tuple(groups), finished, series, histories, metrics=asked)
    if not finished:
        return scene
    labels = [group.label for group in finished]
    chosen = baseline if baseline in labels else labels[0]
    measures = {name for group in finished for run in group.runs for name in run.measures()}
    table = tabulate(finished, chosen, [one for one in asked if _spellings(one) & measures])
    tasks = by_task(finished, chosen)
    return Scene(condition, name, tuple(groups), finished, series, histories, table, chosen, asked, tasks)


def _check_baseline(groups: Sequence[Group], baseline: str | None) -> None:
    labels = [group.label for group in groups]
    if baseline is not None and baseline not in labels:
        raise SynopticError(f"the baseline '{baseline}' is not among the compared", nearest(baseline, set(labels)))


def _check_metrics(groups: Sequence[Group], histories: Mapping[str, History], metrics: Sequence[str]) -> None:
    known = _known(groups, histories)
    for name in metrics:
        if not _spellings(name) & known:
            short = {one.split("/", 1)[1] for one in known if one.startswith(tuple(f"{model}/" for model in MODELS))}
            raise SynopticError(f"no run has a metric '{name}'", nearest(name, known | short))


def _known(groups: Sequence[Group], histories: Mapping[str, History]) -> set[str]:
    """Names of everything that was measured, by summaries or logs."""
    names: set[str] = set()
    for group in groups:
        for run in group.runs:
            names |= run.measures().keys()
            names |= {name for name in histories[place_of(run)].curves if not name.startswith(LOG)}
    return names


def _spellings(name: str) -> set[str]:
    return {name, *(f"{model}/{name}" for model in MODELS)}
