"""Asking a generative model: questions about pictures of one's own, or a run's own test questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tensordict import TensorDict

from synoptic.adapters.peft_io import import_peft
from synoptic.adapters.stack import expand, leaves
from synoptic.core import SynopticError
from synoptic.core.seeds import numpy_generator
from synoptic.data import manifest
from synoptic.data.federated import FederatedData
from synoptic.data.images import ImageStore
from synoptic.data.table import FileImages
from synoptic.experiment.chosen import Chosen, choose, existing, refuse_tasks
from synoptic.experiment.delivered import finished
from synoptic.experiment.recipe import read_recipe
from synoptic.experiment.records import RunRecord
from synoptic.models.answerer import Answerer
from synoptic.models.answerer.decode import Decoding, decode
from synoptic.models.load import shared_model
from synoptic.models.scalar_head import is_reward

BATCH = 64
TOKENS = 32


@dataclass(frozen=True)
class Reply:
    """One question and what was said.

    Attributes:
        picture: file, or table and row.
        question: what was asked.
        answer: what the model said.
        before: what the untouched base said; None where it was not asked.
        truth: the reference answer; None where nobody knows it.
    """

    picture: str
    question: str
    answer: str
    before: str | None = None
    truth: str | None = None


@dataclass(frozen=True)
class Asked:
    """All replies, and the base that gave them."""

    base: str
    fingerprint: str
    replies: tuple[Reply, ...]


def ask(
    adapter: str | Path, images: Sequence[str | Path], questions: Sequence[str], base: str | None = None,
    client: str | None = None, before: bool = False, tokens: int = TOKENS,
) -> Asked:  # fmt: skip
    """Answer questions about pictures, greedily.

    Args:
        adapter: a folder in PEFT's format, an export, the folder of a run, or a base alone.
        images: picture files; one for all questions, or one for each.
        questions: one for all pictures, or one for each.
        base: where the adapter's base lies, if not where the adapter says.
        client: whose adapter, where clients have their own: name or number.
        before: whether to ask the untouched base too.
        tokens: how long an answer may grow, its end included.

    Raises:
        SynopticError: nothing to ask or nobody to answer; a dual encoder; a picture that cannot be read.
    """
    paths, texts = paired(existing(images), questions)
    chosen = choose(adapter, base, client)
    refuse_tasks(chosen, adapter)
    model = answerer(chosen.base)
    store, where = FileImages(tuple(paths)), [str(path) for path in paths]
    return _asked(model, chosen, store, where, texts, None, before, tokens)


def ask_tests(
    run: str | Path, count: int, client: str | None = None, before: bool = False, tokens: int = TOKENS
) -> Asked:
    """Answer a run's own test questions, drawn by lot from a stream of its seed.

    Args:
        run: folder of a finished run.
        count: how many; 0 is all.
        client: this client's own adapter and test questions; without it the shared adapter and everybody's.
        before: whether to ask the untouched base too.
        tokens: how long an answer may grow, its end included.

    Raises:
        SynopticError: no such run or client, or one whose data has classes.
    """
    record = finished(Path(run).expanduser())
    recipe = read_recipe(record.folder.recipe)
    if recipe.data.source == "tasks":
        raise SynopticError(f"the run {record.name} has several tasks", f"say which: synoptic task {run}")
    if not recipe.data.asks:
        raise SynopticError(f"the run {record.name} tells classes apart and has no test questions",
                            f"try its classes: synoptic predict {run} PICTURE")  # fmt: skip
    data = manifest.load(record.folder.manifest, recipe.data)
    chosen = choose(run, client=client)
    rows = _drawn(record, data, count, client)
    words = data.test.words
    assert words is not None
    some = words.take(rows)
    where = [f"{data.test.name} {row}" for row in rows]
    store = data.test.take(rows).images
    return _asked(answerer(chosen.base), chosen, store, where, some.questions, some.answers, before, tokens)


def answerer(name: str) -> Answerer:
    """A base that answers questions.

    Raises:
        SynopticError: it is a dual encoder.
    """
    model = shared_model(name)
    if not isinstance(model, Answerer):
        raise SynopticError(f"{name} tells classes apart and answers no questions",
                            "use `synoptic predict`, or a generative model such as tiny-vlm")  # fmt: skip
    return model


def say(
    model: Answerer, one: TensorDict | None, store: ImageStore, questions: Sequence[str], where: Sequence[str],
    tokens: int = TOKENS,
) -> list[str]:  # fmt: skip
    """Greedy answers of one adapter, or of the base without one.

    Args:
        model: the base.
        one: the adapter (batch size ``[]``).
        store: a picture for each question.
        questions: what is asked.
        where: what each is called in an error.
        tokens: how long an answer may grow; less where the model cannot hold more.
    """
    worn = leaves(expand(one, 1)) if one is not None else {}
    texts: list[str] = []
    for start in range(0, len(questions), BATCH):
        some = slice(start, start + BATCH)
        places = np.arange(len(questions))[some]
        with model.wearing(worn):
            views = model.family.views(store.load(places))
            rows = model.prompts.encode(questions[some], [view.grid for view in views], None, where[some])
            room = model.decoder.length - int(rows.prompt.max())
            how = Decoding(tokens=max(1, min(tokens, room)))
            texts += [text for (text,) in decode(model, model.embed(rows, model.features(views)), rows, how).texts]
    return texts


def _asked(
    model: Answerer, chosen: Chosen, store: ImageStore, where: Sequence[str], questions: Sequence[str],
    truths: Sequence[str] | None, before: bool, tokens: int,
) -> Asked:  # fmt: skip
    one = import_peft(chosen.folder, model) if chosen.folder is not None else None
    if one is not None and is_reward(one):
        raise SynopticError(f"the adapter in {chosen.folder} is a reward model: it scores answers and gives none",
                            "ask an adapter that was trained to answer, or the base alone")  # fmt: skip
    answers = say(model, one, store, questions, where, tokens)
    untouched = say(model, None, store, questions, where, tokens) if before else None
    return Asked(model.name, model.fingerprint, tuple(
        Reply(picture, questions[i], answers[i], untouched[i] if untouched else None, truths[i] if truths else None)
        for i, picture in enumerate(where)
    ))  # fmt: skip


def paired(paths: list[Path], questions: Sequence[str]) -> tuple[list[Path], list[str]]:
    """A picture for each question: one for all, or as many of both.

    Raises:
        SynopticError: no question, one without words, or numbers that cannot be paired.
    """
    if not questions:
        raise SynopticError("no question was given", 'give one with --question "what colour is it?"')
    for question in questions:
        if not any(letter.isalnum() for letter in question):
            raise SynopticError(f"the question {question!r} has no words", "ask something")
    if len(paths) != len(questions) and 1 not in (len(paths), len(questions)):
        raise SynopticError(f"{len(paths)} pictures and {len(questions)} questions cannot be paired",
                            "give one picture for all, one question for all, or one of each")  # fmt: skip
    count = max(len(paths), len(questions))
    return (paths * count)[:count], (list(questions) * count)[:count]


def _drawn(run: RunRecord, data: FederatedData, count: int, client: str | None) -> NDArray[np.int64]:
    pool = data.tests["global"]
    if client is not None:
        pool = data.clients.test(data.clients.number(client))
    if count == 0 or count >= len(pool):
        return pool
    return np.sort(numpy_generator(run.seed, "ask", "tests").choice(pool, count, replace=False))
