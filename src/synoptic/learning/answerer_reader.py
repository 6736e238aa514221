"""What a reward model over a generative base reads of (picture, question, text): the text's end and likelihood.

Legend: K clients, N = K * B rows (client-major), D width, F features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synoptic.core.files import digest
from synoptic.data.table import ExampleTable
from synoptic.learning.answer_rows import AnswerRows, Begun, Said, Tensors
from synoptic.models.answerer import Answerer
from synoptic.models.cache import Budget, PrefixCache
from synoptic.models.frozen import names_of

Ints = NDArray[np.int64]
BOTH: tuple[Said, Said] = ("answer", "rejected")


class AnswererReader:
    """`Reader` over a generative base: the normed hidden state after the last block at the last token, F = D or D + 1.

    That token is the end token, which has seen picture, question and text. The mean log-probability of the text's
    tokens stands beside it where it is asked for, as large as the D entries together, so that a head learns from both
    at one rate.

    Args:
        model: the frozen base.
        table: pictures with questions.
        order: positions that will be asked for, neighbours together.
        budget: memory for what is frozen; None computes it anew each time.
        starts: places in ``order`` where a new client begins.
        likelihood: whether the log-probability is read too.
    """

    def __init__(
        self, model: Answerer, table: ExampleTable, order: Ints, budget: Budget | None, starts: Ints | None = None,
        likelihood: bool = True,
    ) -> None:  # fmt: skip
        self._model = model
        self._given = (table, order)
        self._starts = starts
        self._budget = budget
        self._likelihood = likelihood
        self._rows = AnswerRows(model, table, order, budget, starts)
        self._known: PrefixCache | None = None

    def pair(self, worn: Tensors, positions: Ints) -> tuple[Tensor, Tensor]:
        """See `Reader.pair`. Where the whole base is frozen, features are computed once for each row."""
        if self._budget is None or any(names_of(worn, tower) for tower in ("vision", "connector", "text")):
            return self._both(worn, positions, self._rows)
        both_N2F = self._cache(self._budget).fetch(positions)
        return both_N2F[:, 0], both_N2F[:, 1]

    def texts(self, worn: Tensors, positions: Ints, texts: Sequence[str]) -> Tensor:
        """See `Reader.texts`."""
        return self._read(worn, self._rows.completed(worn, positions, texts))

    def _cache(self, budget: Budget) -> PrefixCache:
        if self._known is None:
            # Rows of their own, which keep nothing: hidden states of all tokens would be a thousand times as much.
            rows = AnswerRows(self._model, *self._given, None)

            @torch.no_grad()
            def compute(positions: Ints) -> Tensor:
                return torch.stack(self._both({}, positions, rows), dim=1)

            table, order = self._given
            key = digest(self._model.fingerprint, table.fingerprint, f"reward {self._likelihood}")
            self._known = PrefixCache(key, compute, order, budget, self._starts)
        return self._known

    def _both(self, worn: Tensors, positions: Ints, rows: AnswerRows) -> tuple[Tensor, Tensor]:
        preferred, rejected = (self._read(worn, rows.begin(worn, positions, said)) for said in BOTH)
        return preferred, rejected

    def _read(self, worn: Tensors, begun: Begun) -> Tensor:
        model = self._model
        with model.wearing(worn):
            if not self._likelihood:
                return model.endings(begun.hidden, begun.rows, begun.depth)
            endings_ND, likelihood_N = model.judged(begun.hidden, begun.rows, begun.depth)
        return torch.cat([endings_ND, model.decoder.width**0.5 * likelihood_N[:, None]], dim=1)
