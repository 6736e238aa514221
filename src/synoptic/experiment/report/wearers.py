"""Who answers a page's examples: the base and the adapters of its runs, opened again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tensordict import TensorDict

from synoptic.adapters.peft_io import import_peft
from synoptic.core.errors import SynopticError
from synoptic.core.seeds import numpy_generator
from synoptic.data.federated import FederatedData
from synoptic.experiment.delivered import folder_name, read_about
from synoptic.experiment.records import RunRecord
from synoptic.experiment.report.parts import placeless
from synoptic.experiment.report.scene import Scene, Series
from synoptic.models.load import Base, shared_model


@dataclass(frozen=True)
class Wearer:
    """A model to ask: its name and its adapter; None is the untouched base."""

    name: str
    adapter: TensorDict | None


def base_of(run: RunRecord) -> Base:
    """The base that a run was made with.

    Raises:
        SynopticError: it is gone, or another one has its name.
    """
    base = shared_model(run.recipe["model"], run.recipe.get("compute", {}).get("base_dtype", "float32"))
    known = run.summary.get("model", {}).get("fingerprint")
    if known is not None and known != base.fingerprint:
        raise SynopticError(f"the base '{run.recipe['model']}' was {known} and is now {base.fingerprint}",
                            "put the old weights back")  # fmt: skip
    return base


def drawn_client(scene: Scene, data: FederatedData, seed: int) -> int | None:
    """Whose personal models are asked, drawn by lot; None where all methods have shared ones."""
    models = {group.label: {one.model for one in scene.of(group)} for group in scene.finished}
    if not any(have == {"personal"} for have in models.values()):
        return None
    holders = np.flatnonzero(data.clients.test_rows.counts > 0)
    return int(numpy_generator(seed, "report", "client").choice(holders)) if len(holders) else None


def wearers_of(
    scene: Scene, runs: dict[str, RunRecord], base: Base, data: FederatedData, client: int | None
) -> tuple[list[Wearer], list[str]]:
    """The models that can be opened, and a sentence for each that cannot."""
    found: list[Wearer] = []
    notes: list[str] = []
    for label, run in runs.items():
        group = scene.done(label)
        models = scene.of(group) if group is not None else []
        for series in _asked_models(models):
            try:
                found.append(Wearer(series.name, _adapter(run, series, base, data, client)))
            except SynopticError as error:
                notes.append(f"{series.name} is not among the examples: {placeless(str(error), run.folder.path)}")
    return found, notes


def _asked_models(models: Sequence[Series]) -> list[Series]:
    """The shared model, and the personal one where there is nothing else."""
    shared = [one for one in models if one.model == "shared"]
    return shared or list(models)


def _adapter(run: RunRecord, series: Series, base: Base, data: FederatedData, client: int | None) -> TensorDict | None:
    folder = run.folder.adapters / "shared"
    if series.model == "personal":
        if client is None:
            raise SynopticError("no client has test data of its own")
        folder = run.folder.adapters / "personal" / folder_name(data.clients.name(client))
    elif not folder.exists() and (run.recipe.get("rounds") == 0 or not read_about(run).shared):
        return None
    return import_peft(folder, base)
