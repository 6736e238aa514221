"""From groups of runs to the page: a part for each condition, each a row of blocks, then the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synoptic.core.errors import SynopticError
from synoptic.core.files import write_text
from synoptic.data import manifest
from synoptic.data.federated import FederatedData
from synoptic.experiment.comparison.groups import Group
from synoptic.experiment.report.bars import bars
from synoptic.experiment.report.claims import check_claims, claims
from synoptic.experiment.report.clients import heat_map
from synoptic.experiment.report.cost import cost
from synoptic.experiment.report.curves import learning_curves
from synoptic.experiment.report.examples import TITLE, examples
from synoptic.experiment.report.facts import facts, words_about
from synoptic.experiment.report.headline import headline
from synoptic.experiment.report.holdings import holdings
from synoptic.experiment.report.logs import logged
from synoptic.experiment.report.overview import overview
from synoptic.experiment.report.parts import Block, placeless
from synoptic.experiment.report.render import Page, Part, render
from synoptic.experiment.report.results import results, so_far
from synoptic.experiment.report.scatter import scatter
from synoptic.experiment.report.scene import Scene, first_runs
from synoptic.experiment.report.scenes import make_scenes


@dataclass(frozen=True)
class Request:
    """What `synoptic.experiment.report.write_report` was asked for."""

    groups: tuple[Group, ...]
    title: str = ""
    baseline: str | None = None
    metrics: tuple[str, ...] = ()
    claims: tuple[Mapping[str, Any], ...] = ()
    unfinished: tuple[str, ...] = ()
    examples: bool = True


def write(request: Request, out: Path) -> Path:
    """Make the page and write it; see `synoptic.experiment.report.write_report`."""
    if not request.groups and not request.claims:
        raise SynopticError("there is nothing to report", "give the folder of a run")
    if out.is_dir():
        raise SynopticError(f"{out} is a folder", "name the file, such as --out report.html")
    text = render(make_page(request))
    try:
        write_text(out, text)
    except OSError as error:
        raise SynopticError(f"the report {out} cannot be written ({error.strerror})",
                            "choose another place with --out") from error  # fmt: skip
    return out


def make_page(request: Request) -> Page:
    """Everything on the page, not yet HTML."""
    checked = check_claims(request.claims)
    scenes = make_scenes(request.groups, request.baseline, request.metrics)
    title = request.title or (words_about(request.groups) if request.groups else "Claims")
    common = [block for block in (overview(scenes), claims(checked)) if block is not None]
    notices = [*request.unfinished, *(sentence for scene in scenes for sentence in _not_finished(scene))]
    parts = [_part(scene, request) for scene in scenes]
    columns = [one for scene in scenes for one in (scene.columns if scene.table is None else scene.table.columns)]
    asks = bool(scenes) and all(scene.asks for scene in scenes)
    return Page(title, tuple(notices), tuple(common), tuple(parts), tuple(columns), asks)


def _part(scene: Scene, request: Request) -> Part:
    notes = []
    if request.baseline is not None and scene.table is not None and scene.baseline != request.baseline:
        notes.append(f"{request.baseline} has no finished run here; differences are to {scene.baseline}.")
    return Part(scene.condition, scene.name, headline(scene), tuple(_blocks(scene, request.examples)), tuple(notes))


def _blocks(scene: Scene, with_examples: bool) -> Iterator[Block]:
    yield results(scene) or so_far(scene) or Block("Results", notes=("Nothing was measured yet.",))
    yield facts(scene)
    for make in (learning_curves, bars, logged, heat_map, scatter, cost):
        block = make(scene)
        if block is not None:
            yield block
    yield from _of_data(scene, with_examples)


def _of_data(scene: Scene, with_examples: bool) -> Iterator[Block]:
    """What needs the data again; where they are gone a sentence says so."""
    run = next(iter(first_runs(scene.finished or scene.groups).values()))
    try:
        data: FederatedData = manifest.load(run.folder.manifest)
        yield holdings(scene, data, run.seed)
    except SynopticError as error:
        yield Block("Who holds what", notes=(f"Not shown, nor are examples: {placeless(str(error), run.folder.path)}",))
        return
    if with_examples:
        try:
            block = examples(scene, data)
        except SynopticError as error:
            block = Block(TITLE, notes=(f"No examples: {placeless(str(error), run.folder.path)}",))
        if block is not None:
            yield block


def _not_finished(scene: Scene) -> Iterator[str]:
    for group in scene.groups:
        for run in group.runs:
            if run.status == "finished":
                continue
            history = scene.history(run)
            where = f" ({scene.condition})" if scene.condition else ""
            state = "is still being written" if run.status == "running" else "stopped"
            yield (
                f"{group.label}, seed {run.seed}{where} {state}: {history.done} of {history.planned} rounds are done. "
                "What it has so far is drawn as curves; it is left out of tables, bars and all that compares results."
            )
