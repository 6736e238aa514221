"""Learning to answer: the loss of a table's answers, what is right, what is preferred, and what is said.

Legend: K clients, B rows, N = K * B rows (client-major), n examples, G samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synoptic.core import SynopticError
from synoptic.learning.answer_rows import AnswerRows, Said, Tensors
from synoptic.learning.batches import Batch
from synoptic.models.answerer import Answerer
from synoptic.models.answerer.decode import GREEDY, Decoded, Decoding, decode
from synoptic.models.answerer.scores import Scores

__all__ = ["AnswerLoss", "AnswerRows", "Answered", "answer", "predict", "scores", "utility"]


def scores(
    model: Answerer, worn: Tensors, rows: AnswerRows, positions: NDArray[np.int64], said: Said = "answer"
) -> Scores:
    """What the model, wearing a stack, says to the answers of client-major rows ``positions [N]``; with gradient."""
    begun = rows.begin(worn, positions, said)
    with model.wearing(worn):
        return model.scores(begun.hidden, begun.rows, begun.depth)


class AnswerLoss:
    """`synoptic.learning.fit.Loss` for answers: mean negative log-likelihood per token, the end token among them."""

    def __init__(self, model: Answerer, rows: AnswerRows) -> None:
        self._model = model
        self._rows = rows

    def __call__(self, worn: Tensors, batch: Batch) -> Tensor:
        """Loss ``[K, B]``."""
        return -scores(self._model, worn, self._rows, batch.rows.ravel()).mean.view(batch.rows.shape)


@dataclass(frozen=True)
class Answered:
    """How K clients' models do on the same n examples; all ``[K, n]``.

    Attributes:
        right: one where greedy decoding gives exactly the reference answer.
        loss: mean negative log-likelihood per token of it.
        preferred: one where the answer is likelier per token than the rejected one; None without rejected answers.
    """

    right: Tensor
    loss: Tensor
    preferred: Tensor | None


@torch.no_grad()
def predict(
    model: Answerer, worn: Tensors, rows: AnswerRows, positions: NDArray[np.int64], batch: int = 256
) -> Answered:
    """Judge every client's model on the same examples.

    Teacher forcing tells what greedy decoding would say: it gives the reference answer exactly when every token of it,
    the end token included, is the likeliest after those before it.

    Args:
        model: the frozen base.
        worn: a stack by tensor names; nothing is the base itself, K = 1.
        rows: the table's rows.
        positions: which of them, ``[n]``.
        batch: rows in one forward pass, all clients together.
    """
    clients = clients_of(worn)
    width = max(1, batch // clients)
    parts = [_judged(model, worn, rows, np.tile(positions[i : i + width], clients), clients)
             for i in range(0, len(positions), width)]  # fmt: skip
    right, loss, *preferred = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
    return Answered(right, loss, preferred[0] if preferred else None)


@torch.no_grad()
def utility(model: Answerer, worn: Tensors, rows: AnswerRows, positions: NDArray[np.int64], batch: int = 256) -> Tensor:
    """What every client's greedy answers to the same examples are worth by each example's own taste ``[K, n]``.

    Args:
        model: the frozen base.
        worn: a stack by tensor names; nothing is the base itself, K = 1.
        rows: the table's rows.
        positions: which of them, ``[n]``.
        batch: rows decoded together, of all clients.

    Raises:
        SynopticError: nobody knows what the table's answers are worth.
    """
    gold = None if rows.table.words is None else rows.table.words.gold
    if gold is None:
        raise SynopticError(f"nobody knows what answers to {rows.table.name} are worth",
                            "use data=questions with data.questions.tastes")  # fmt: skip
    clients = clients_of(worn)
    width = max(1, batch // clients)
    parts = []
    for some in np.split(positions, range(width, len(positions), width)):
        rows_KB = np.tile(some, (clients, 1))
        texts = [text for (text,) in answer(model, worn, rows, rows_KB).texts]
        parts.append(gold.utility(rows_KB.ravel(), texts).reshape(rows_KB.shape))
    return torch.from_numpy(np.concatenate(parts, axis=1)).float()


def clients_of(worn: Tensors) -> int:
    """K of a worn stack."""
    return max((len(tensor) for tensor in worn.values()), default=1)


def _judged(
    model: Answerer, worn: Tensors, rows: AnswerRows, positions_N: NDArray[np.int64], clients: int
) -> list[Tensor]:
    said = scores(model, worn, rows, positions_N)
    found = [said.right.float(), -said.mean]
    if rows.prefers:
        other = scores(model, worn, rows, positions_N, "rejected")
        found.append((said.mean > other.mean).float())
    return [values.view(clients, -1) for values in found]


def answer(
    model: Answerer, worn: Tensors, rows: AnswerRows, positions_KB: NDArray[np.int64], how: Decoding = GREEDY,
    generators: Sequence[torch.Generator] | None = None,
) -> Decoded:  # fmt: skip
    """What each client's model says to its own rows' questions.

    Args:
        model: the frozen base.
        worn: a stack by tensor names.
        rows: the table's rows.
        positions_KB: each client's rows.
        how: greedy or sampled, how many samples of each, how long.
        generators: one for each client where answers are sampled.
    """
    begun = rows.prompts(worn, positions_KB.ravel())
    with model.wearing(worn):
        return decode(model, begun.hidden, begun.rows, how, generators)
