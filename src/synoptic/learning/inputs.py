"""What an input looks like to everybody: a frozen embedding of picture and question, for routers.

Legend: n rows, D width.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synoptic.learning.answer_rows import AnswerRows
from synoptic.models.answerer import Answerer

AT_ONCE = 128


@torch.no_grad()
def input_embeddings(model: Answerer, rows: AnswerRows, positions: NDArray[np.int64]) -> Tensor:
    """The untouched base's last hidden state at the end of each prompt, where picture and question meet: ``[n, D]``.

    Args:
        model: the frozen base.
        rows: a table's rows.
        positions: which of them.
    """
    parts = [torch.zeros(0, model.decoder.width)]
    for start in range(0, len(positions), AT_ONCE):
        begun = rows.prompts({}, positions[start : start + AT_ONCE])
        with model.wearing({}):
            parts.append(model.endings(begun.hidden, begun.rows, 0).cpu())
    return torch.cat(parts)
