"""Worse answers that a model has given itself: what a reward model must not like once a policy can say it.

Pairs that people wrote down have only what people write in them. A policy finds what a reward model likes and nobody
ever wrote, so some of the worse answers are drawn from the policy as it is before it is aligned, as POVID (Zhou et al.
2024) draws from a model what it sees wrongly.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict

from synoptic.adapters.stack import expand, leaves
from synoptic.core import SynopticError
from synoptic.core.seeds import generator
from synoptic.data.table import ExampleTable
from synoptic.learning.answer_rows import AnswerRows
from synoptic.learning.answering import answer
from synoptic.models.answerer import Answerer
from synoptic.models.answerer.decode import Decoding
from synoptic.models.load import Base

Ints = NDArray[np.int64]
AT_ONCE = 256


def with_own_negatives(
    model: Base, table: ExampleTable, order: Ints, share: float, seed: int, policy: TensorDict | None = None
) -> ExampleTable:
    """The table with a share of its rejected answers replaced by what the model says at temperature 1.

    Where it says the right answer or nothing, the given rejected one stays. What a row gets depends on its picture,
    question and answer alone, not on where it stands or with whom.

    Args:
        model: the policy's base.
        table: preference records.
        order: rows that will be asked for; others stay as they are.
        share: of the rows, drawn one by one.
        seed: of the draws.
        policy: what the base wears (batch size ``[]``); None is the base alone.

    Raises:
        SynopticError: a base that says nothing, or a table without rejected answers.
    """
    words = table.words
    if not isinstance(model, Answerer):
        raise SynopticError(f"{model.name} gives no answers that could be worse ones", "leave negatives out")
    if words is None or words.rejected is None:
        raise SynopticError(f"{table.name} has no rejected answers", "use preference records")
    streams = [generator(seed, "negatives", picture, words.questions[row], words.answers[row])
               for row, picture in zip(order, table.signatures(order), strict=True)]  # fmt: skip
    chosen = [place for place, stream in enumerate(streams) if float(torch.rand((), generator=stream)) < share]
    worn = {} if policy is None else leaves(expand(policy, 1))
    rejected, rows = list(words.rejected), AnswerRows(model, table, order, None)
    how = Decoding(1, _longest(model, [*words.answers, *words.rejected]), temperature=1.0)
    for begin in range(0, len(chosen), AT_ONCE):
        some = chosen[begin : begin + AT_ONCE]
        said = answer(model, worn, rows, order[some][:, None], how, [streams[place] for place in some]).texts
        for row, (text,) in zip(order[some], said, strict=True):
            if text.strip() and not _alike(text, words.answers[row]):
                rejected[row] = text
    return replace(table, words=replace(words, rejected=tuple(rejected)))


def _longest(model: Answerer, texts: list[str]) -> int:
    """Tokens of the longest text and one more: a text that is cut off is no answer of the model's."""
    return max(len(ids) for ids in model.tokenizer(sorted(set(texts)))["input_ids"]) + 1


def _alike(one: str, other: str) -> bool:
    return one.split() == other.split()
