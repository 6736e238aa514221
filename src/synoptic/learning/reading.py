"""What a reward model's head reads, whatever the base.

Legend: N = K * B rows (client-major), F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from synoptic.data.table import ExampleTable
from synoptic.learning.answer_rows import Tensors
from synoptic.learning.answerer_reader import AnswererReader
from synoptic.learning.encoder_reader import EncoderReader, Heard
from synoptic.models.answerer import Answerer
from synoptic.models.cache import Budget
from synoptic.models.load import Base

Ints = NDArray[np.int64]


class Reader(Protocol):
    """Features of (picture, question, text) of one table's rows, with everything frozen computed once."""

    def pair(self, worn: Tensors, positions: Ints) -> tuple[Tensor, Tensor]:
        """Features of the answer and of the rejected one, ``[N, F]`` each, for client-major ``positions [N]``."""
        ...

    def texts(self, worn: Tensors, positions: Ints, texts: Sequence[str]) -> Tensor:
        """Features ``[N, F]`` of any other text for each of the rows."""
        ...


def features_of(model: Base, likelihood: bool) -> int:
    """F of the reader that `make_reader` makes."""
    return model.decoder.width + likelihood if isinstance(model, Answerer) else 3 * model.dim


def make_reader(
    model: Base, table: ExampleTable, order: Ints, budget: Budget | None, starts: Ints | None, heard: Heard,
    likelihood: bool,
) -> Reader:  # fmt: skip
    """The reader that fits the base.

    Args:
        model: the frozen base.
        table: pictures with questions.
        order: positions that will be asked for, neighbours together.
        budget: memory for what is frozen; None computes it anew each time.
        starts: places in ``order`` where a new client begins.
        heard: what a dual encoder's text tower is given.
        likelihood: whether the likelihood of the text is read too, over a generative base.
    """
    if isinstance(model, Answerer):
        return AnswererReader(model, table, order, budget, starts, likelihood)
    return EncoderReader(model, table, order, budget, starts, heard)
