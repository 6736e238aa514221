"""What every problem needs: stacks by name, the order of rows in a cache, several test sets looked at once.

Legend: K clients, n examples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.stack import leaves
from synoptic.data.clients import ClientIndex
from synoptic.learning.fit import Tensors

Stack = TensorDict | Mapping[str, Tensor]
Part = Literal["train", "test"]
Splits = Mapping[str, NDArray[np.int64]]
Scores = dict[str, Tensor]
"""By quantity, ``[K, n]`` each."""


def worn(stack: Stack) -> Tensors:
    """A stack by tensor names."""
    return leaves(stack) if isinstance(stack, TensorDict) else stack


def neighbours(clients: ClientIndex) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Training positions client by client, validation after them, and where each client's begin: a cache's order."""
    order = np.concatenate([clients.train_rows.positions, clients.val_rows.positions])
    starts = np.concatenate([clients.train_rows.offsets, len(clients.train_rows.positions) + clients.val_rows.offsets])
    return order, starts


def looked_at_once(splits: Splits, score: Callable[[NDArray[np.int64]], Scores]) -> dict[str, Scores]:
    """Scores of every split, where an example's do not depend on the split: each is scored once.

    Args:
        splits: positions by split.
        score: quantities ``[K, n]`` of positions ``[n]``.
    """
    if not splits:
        return {}
    union, place = np.unique(np.concatenate(list(splits.values())), return_inverse=True)
    scores = score(union)
    parts = torch.from_numpy(place).split([len(positions) for positions in splits.values()])
    return {split: {name: each[:, part] for name, each in scores.items()}
            for split, part in zip(splits, parts, strict=True)}  # fmt: skip
