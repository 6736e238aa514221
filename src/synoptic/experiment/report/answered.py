"""Questions with answers before and after, for runs whose base is a generative model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from synoptic.data.federated import FederatedData
from synoptic.experiment.ask import say
from synoptic.experiment.report.parts import Answer, Example, plural
from synoptic.experiment.report.pictures import data_uri
from synoptic.experiment.report.wearers import Wearer
from synoptic.models.answerer import Answerer

PART = "questions"


def answered(
    base: Answerer, data: FederatedData, positions: NDArray[np.int64], wearers: Sequence[Wearer]
) -> list[Example]:
    """Test questions with everybody's greedy answers.

    Args:
        base: the frozen base.
        data: what the runs were measured on.
        positions: rows of the test table.
        wearers: who is asked.
    """
    assert data.test.words is not None
    words, store = data.test.words.take(positions), data.test.take(positions).images
    where = [f"{data.test.name} {position}" for position in positions]
    said = [say(base, wearer.adapter, store, words.questions, where) for wearer in wearers]
    return [
        Example(data_uri(picture), question, truth, PART, tuple(
            Answer(wearer.name, texts[place], None, texts[place] == truth)
            for wearer, texts in zip(wearers, said, strict=True)
        ))
        for place, (picture, question, truth) in enumerate(
            zip(store.load(np.arange(len(positions))), words.questions, words.answers, strict=True)
        )
    ]  # fmt: skip


def about_answers(count: int, seed: int, client: str) -> str:
    """What one sees, in words.

    Args:
        count: how many questions.
        seed: of the draw.
        client: whose personal models answer; empty where all methods have shared ones.
    """
    pool = f"the test data of {client}" if client else "everybody's test data"
    own = f" Methods without a shared model answer with the personal one of {client}, drawn by lot." if client else ""
    return (
        f"Test questions by lot, {plural(count, 'row')} of {pool}: the draw is fixed by the seed ({seed}), nobody "
        "chose them. Before is the untouched base; the others are after the last round. Answers are decoded greedily; "
        f"one that is exactly the reference answer counts as right.{own}"
    )
