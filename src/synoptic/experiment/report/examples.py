"""Pictures with answers before and after: base, data and adapters are opened again, a few test pictures drawn by lot.

The draw is a named stream of the run's seed, so nobody chose what is shown, and every method answers the same pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict

from synoptic.adapters.peft_io import import_peft
from synoptic.adapters.stack import expand, leaves
from synoptic.core.errors import SynopticError
from synoptic.core.seeds import numpy_generator
from synoptic.data.federated import FederatedData
from synoptic.experiment.delivered import folder_name, read_about
from synoptic.experiment.records import RunRecord
from synoptic.experiment.report.parts import Answer, Block, Example, and_list, placeless
from synoptic.experiment.report.pictures import data_uri
from synoptic.experiment.report.scene import Scene, Series, first_runs
from synoptic.learning.classifier import Classifier, ImageRows
from synoptic.models.dual_encoder import DualEncoder
from synoptic.models.load import shared_dual_encoder

Ints = NDArray[np.int64]
EACH = 5
"""Pictures of base classes, and as many of novel ones."""

TITLE = "Examples"


@dataclass(frozen=True)
class Question:
    """Some test pictures of one part, and the classes among which they are told apart."""

    part: str
    positions: Ints
    classes: Ints


@dataclass(frozen=True)
class Wearer:
    """A model to ask: its name and its adapter; None is the untouched base."""

    name: str
    adapter: TensorDict | None


def examples(scene: Scene, data: FederatedData) -> Block | None:
    """A block of pictures; a base or adapter that is gone costs those answers and says so."""
    runs = first_runs(scene.finished)
    if not runs:
        return None
    first = next(iter(runs.values()))
    try:
        base = _base(first)
    except SynopticError as error:
        return Block(TITLE, notes=(f"No examples: {error}",))
    client = _client(scene, data, first.seed)
    wearers, notes = _wearers(scene, runs, base, data, client)
    if not wearers:
        return Block(TITLE, notes=tuple(notes))
    questions = _questions(data, first.seed, client)
    untouched = [wearer.name for wearer in wearers if wearer.adapter is None]
    asked = [Wearer(", ".join(["before", *untouched]), None), *(one for one in wearers if one.adapter is not None)]
    shown = tuple(example for question in questions for example in _asked(base, data, question, asked))
    return Block(TITLE, (_about(data, questions, first.seed, client),), examples=shown, notes=tuple(notes))


def _base(run: RunRecord) -> DualEncoder:
    base = shared_dual_encoder(run.recipe["model"], run.recipe.get("compute", {}).get("base_dtype", "float32"))
    known = run.summary.get("model", {}).get("fingerprint")
    if known is not None and known != base.fingerprint:
        raise SynopticError(f"the base '{run.recipe['model']}' was {known} and is now {base.fingerprint}",
                            "put the old weights back")  # fmt: skip
    return base


def _client(scene: Scene, data: FederatedData, seed: int) -> int | None:
    """Whose personal models are asked, drawn by lot; None where all methods have shared ones."""
    models = {group.label: {one.model for one in scene.of(group)} for group in scene.finished}
    if not any(have == {"personal"} for have in models.values()):
        return None
    holders = np.flatnonzero(data.clients.test_rows.counts > 0)
    return int(numpy_generator(seed, "report", "client").choice(holders)) if len(holders) else None


def _wearers(
    scene: Scene, runs: dict[str, RunRecord], base: DualEncoder, data: FederatedData, client: int | None
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


def _adapter(
    run: RunRecord, series: Series, base: DualEncoder, data: FederatedData, client: int | None
) -> TensorDict | None:
    folder = run.folder.adapters / "shared"
    if series.model == "personal":
        if client is None:
            raise SynopticError("no client has test data of its own")
        folder = run.folder.adapters / "personal" / folder_name(data.clients.name(client))
    elif not folder.exists() and (run.recipe.get("rounds") == 0 or not read_about(run).shared):
        return None
    return import_peft(folder, base)


def _questions(data: FederatedData, seed: int, client: int | None) -> list[Question]:
    pool = data.tests["base"] if client is None else data.clients.test(client)
    questions = [Question("base", _drawn(pool, seed, "base"), data.base_classes)]
    if "novel" in data.tests:
        questions.append(Question("novel", _drawn(data.tests["novel"], seed, "novel"), data.novel_classes))
    return questions


def _drawn(pool: Ints, seed: int, part: str) -> Ints:
    rng = numpy_generator(seed, "report", "examples", part)
    return np.sort(rng.choice(pool, min(EACH, len(pool)), replace=False))


def _asked(base: DualEncoder, data: FederatedData, question: Question, wearers: Sequence[Wearer]) -> list[Example]:
    classifier = Classifier(base, data.prompts())
    rows = ImageRows(base, data.test, question.positions, None)
    answers = [_answers(classifier, rows, data, question, wearer) for wearer in wearers]
    pictures = data.test.images.load(question.positions)
    return [
        Example(data_uri(picture), "", data.class_names[data.test.labels[position]], question.part,
                tuple(one[place] for one in answers))
        for place, (position, picture) in enumerate(zip(question.positions, pictures, strict=True))
    ]  # fmt: skip


def _answers(
    classifier: Classifier, rows: ImageRows, data: FederatedData, question: Question, wearer: Wearer
) -> list[Answer]:
    worn = leaves(expand(wearer.adapter, 1)) if wearer.adapter is not None else {}
    logits = classifier.predict(worn, rows, question.positions, question.classes)[0]
    shares, places = torch.softmax(logits.double(), dim=-1).max(dim=-1)
    chosen = question.classes[places.numpy()]
    labels = data.test.labels[question.positions]
    return [Answer(wearer.name, data.class_names[answer], float(share), bool(answer == label))
            for answer, share, label in zip(chosen, shares, labels, strict=True)]  # fmt: skip


def _about(data: FederatedData, questions: Sequence[Question], seed: int, client: int | None) -> str:
    name = "" if client is None else data.clients.name(client)
    pools = {"base": f"the test data of {name}" if name else "base classes", "novel": "novel classes"}
    parts = [f"{len(question.positions)} of {pools[question.part]}" for question in questions]
    personal = (
        f" Methods without a shared model answer with the personal one of {name}, drawn by lot too." if name else ""
    )
    return (
        f"Test pictures drawn by lot, {and_list(parts)}: the draw is fixed by the seed ({seed}), nobody chose them. "
        "Before is the untouched base (zero-shot); the others are after the last round. The percentage is the "
        "probability that the model gives its answer, among the names of the base or of the novel classes."
        f"{personal}"
    )
