"""`Preferring`: which of two answers is better. Reward models are trained for it and measured by it.

Legend: K clients, n pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from synoptic.core import SynopticError
from synoptic.data.federated import FederatedData
from synoptic.data.rows import Rows
from synoptic.data.table import ExampleTable
from synoptic.learning.objectives.preference import bradley_terry, pair_accuracy
from synoptic.learning.rewarding import PreferenceLoss, RewardSpec, Scorer
from synoptic.learning.splits import Part, Splits, Stack, looked_at_once, neighbours, worn
from synoptic.models.cache import Budget
from synoptic.models.load import Base

Ints = NDArray[np.int64]


class Preferring:
    """Pairs of answers; what is learned is a score that orders them.

    Attributes:
        train_scorer, test_scorer: scores of both tables' rows.
    """

    quantities = ("preference", "loss")

    def __init__(self, model: Base, data: FederatedData, reward: RewardSpec, cache: Budget | None) -> None:
        order, starts = neighbours(data.clients)
        self.train_scorer = Scorer(model, data.train, order, reward, cache, starts)
        self.test_scorer = Scorer(model, data.test, np.arange(len(data.test)), reward, cache)

    def loss(self) -> PreferenceLoss:
        """Bradley-Terry with centring."""
        return PreferenceLoss(self.train_scorer)

    def score(self, stack: Stack, positions: Ints, split: str, part: Part = "test") -> dict[str, Tensor]:
        """Whether the answer scores higher than the rejected one (a half for a draw), and the loss without centring.

        There are no candidates, so ``split`` changes nothing; see `synoptic.learning.problem.Problem.score`.
        """
        scorer = self.train_scorer if part == "train" else self.test_scorer
        preferred, rejected = scorer.pairs(worn(stack), positions)
        return {"preference": pair_accuracy(preferred, rejected), "loss": bradley_terry(preferred, rejected)}

    def score_all(self, stack: Stack, splits: Splits) -> dict[str, dict[str, Tensor]]:
        """See `synoptic.learning.problem.Problem.score_all`."""
        return looked_at_once(splits, lambda positions: self.score(stack, positions, "global"))


def check_pairs(data: FederatedData, reward: RewardSpec) -> None:
    """Refuse data that do not say which of two answers is better.

    Raises:
        SynopticError: classes; answers without rejected ones; or pairs whose two answers are the same, unless
            ``reward.ties`` leaves them out.
    """
    for table in (data.train, data.test):
        if table.words is None or table.words.rejected is None:
            has = "classes" if table.words is None else "answers and no rejected ones"
            raise SynopticError(f"a reward model learns from pairs of answers, and {table.name} has {has}",
                                "set data=questions data.questions.rejected=true, or name the column of worse answers "
                                "with data.rejected, or set data.wrong=true")  # fmt: skip
    tied = [f"row {row} of {table.name}" for table, rows in _in_use(data) for row in rows[ties(table)[rows]]]
    if tied and reward.ties == "refuse":
        count = "1 pair has" if len(tied) == 1 else f"{len(tied)} pairs have"
        raise SynopticError(f"{count} the same answer twice, such as {tied[0]}",
                            "leave them out of the data, or set method.ties=drop")  # fmt: skip


def paired(data: FederatedData, reward: RewardSpec) -> FederatedData:
    """The data without pairs whose two answers are the same: nobody can prefer one of them.

    Raises:
        SynopticError: see `check_pairs`.
    """
    check_pairs(data, reward)
    train, test, held = ties(data.train), ties(data.test), data.clients
    if not train.any() and not test.any():
        return data
    kept = replace(held, train_rows=_without(held.train_rows, train), val_rows=_without(held.val_rows, train),
                   test_rows=_without(held.test_rows, test))  # fmt: skip
    return replace(data, clients=kept, tests={split: rows[~test[rows]] for split, rows in data.tests.items()})


def _in_use(data: FederatedData) -> Iterator[tuple[ExampleTable, Ints]]:
    """Both tables with the rows that anybody trains or is tested on."""
    held = data.clients
    yield data.train, np.union1d(held.train_rows.positions, held.val_rows.positions)
    yield data.test, np.unique(np.concatenate([held.test_rows.positions, *data.tests.values()]))


def ties(table: ExampleTable) -> NDArray[np.bool_]:
    """Which rows have the same answer twice, bool ``[n]``."""
    words = table.words
    assert words is not None and words.rejected is not None
    same = [one.strip() == two.strip() for one, two in zip(words.answers, words.rejected, strict=True)]
    return np.array(same, dtype=bool)


def _without(rows: Rows, tied: NDArray[np.bool_]) -> Rows:
    kept = ~tied[rows.positions]
    return Rows.grouped(rows.owners[kept], len(rows), rows.positions[kept])
