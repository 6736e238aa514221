"""Pictures with answers before and after: base, data and adapters are opened again, a few test pictures drawn by lot.

The draw is a named stream of the run's seed, so nobody chose what is shown, and every method answers the same pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from synoptic.adapters.stack import expand, leaves
from synoptic.core.errors import SynopticError
from synoptic.core.seeds import numpy_generator
from synoptic.data.federated import FederatedData
from synoptic.experiment.report.answered import about_answers, answered
from synoptic.experiment.report.parts import Answer, Block, Example, and_list
from synoptic.experiment.report.pictures import data_uri
from synoptic.experiment.report.scene import Scene, first_runs
from synoptic.experiment.report.wearers import Wearer, base_of, drawn_client, wearers_of
from synoptic.learning.classifier import Classifier, ImageRows
from synoptic.models.answerer import Answerer
from synoptic.models.dual_encoder import DualEncoder
from synoptic.models.load import Base

Ints = NDArray[np.int64]
EACH = 5
"""Pictures of base classes, and as many of novel ones."""

QUESTIONS = 8

TITLE = "Examples"


@dataclass(frozen=True)
class Question:
    """Some test pictures of one part, and the classes among which they are told apart."""

    part: str
    positions: Ints
    classes: Ints


def examples(scene: Scene, data: FederatedData) -> Block | None:
    """A block of pictures; a base or adapter that is gone costs those answers and says so."""
    runs = first_runs(scene.finished)
    if not runs:
        return None
    first = next(iter(runs.values()))
    try:
        base = base_of(first)
    except SynopticError as error:
        return Block(TITLE, notes=(f"No examples: {error}",))
    client = drawn_client(scene, data, first.seed)
    wearers, notes = wearers_of(scene, runs, base, data, client)
    if not wearers:
        return Block(TITLE, notes=tuple(notes))
    untouched = [wearer.name for wearer in wearers if wearer.adapter is None]
    asked = [Wearer(", ".join(["before", *untouched]), None), *(one for one in wearers if one.adapter is not None)]
    about, shown = _shown(base, data, first.seed, client, asked)
    return Block(TITLE, (about,), examples=tuple(shown), notes=tuple(notes))


def _shown(
    base: Base, data: FederatedData, seed: int, client: int | None, asked: Sequence[Wearer]
) -> tuple[str, list[Example]]:
    if isinstance(base, Answerer):
        pool = data.tests["global"] if client is None else data.clients.test(client)
        positions = _drawn(pool, seed, "questions", QUESTIONS)
        name = "" if client is None else data.clients.name(client)
        return about_answers(len(positions), seed, name), answered(base, data, positions, asked)
    questions = _questions(data, seed, client)
    shown = [example for question in questions for example in _asked(base, data, question, asked)]
    return _about(data, questions, seed, client), shown


def _questions(data: FederatedData, seed: int, client: int | None) -> list[Question]:
    pool = data.tests["base"] if client is None else data.clients.test(client)
    questions = [Question("base", _drawn(pool, seed, "base"), data.base_classes)]
    if "novel" in data.tests:
        questions.append(Question("novel", _drawn(data.tests["novel"], seed, "novel"), data.novel_classes))
    return questions


def _drawn(pool: Ints, seed: int, part: str, most: int = EACH) -> Ints:
    rng = numpy_generator(seed, "report", "examples", part)
    return np.sort(rng.choice(pool, min(most, len(pool)), replace=False))


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
