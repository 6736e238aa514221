"""What is learned and how it is judged: one face for classes (dual encoders) and for answers (generative models).

Legend: K clients, n examples, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.stack import leaves
from synoptic.core import SynopticError
from synoptic.data.clients import ClientIndex
from synoptic.data.federated import FederatedData
from synoptic.learning.answering import AnswerLoss, AnswerRows, predict
from synoptic.learning.classifier import ClassificationLoss, Classifier, ImageRows
from synoptic.learning.fit import Loss, Tensors
from synoptic.learning.objectives.contrastive import correct
from synoptic.models.answerer import Answerer
from synoptic.models.cache import Budget
from synoptic.models.dual_encoder import DualEncoder
from synoptic.models.load import Base

Stack = TensorDict | Mapping[str, Tensor]
Part = Literal["train", "test"]
Splits = Mapping[str, NDArray[np.int64]]


class Problem(Protocol):
    """What a stack of adapters is trained for and measured by. A method sees nothing else of the kind of model."""

    @property
    def quantities(self) -> tuple[str, ...]:
        """What `score` measures: ``accuracy`` and ``loss``, ``preference`` where there is something to prefer."""
        ...

    def loss(self) -> Loss:
        """The training loss of rows of the training table."""
        ...

    def score(self, stack: Stack, positions: NDArray[np.int64], split: str, part: Part = "test") -> dict[str, Tensor]:
        """Every quantity ``[K, n]`` of every client's model on the same examples, without gradient.

        Args:
            stack: what is worn ``[K]``; nothing is the untouched base.
            positions: rows of the table.
            split: as whose examples they are judged; decides the candidates.
            part: which table; validation rows lie in the training table.
        """
        ...

    def score_all(self, stack: Stack, splits: Splits) -> dict[str, dict[str, Tensor]]:
        """`score` of several sets of test examples, by split."""
        ...


class Classification:
    """Pictures among class names.

    Attributes:
        classifier: the dual encoder with the data's prompts.
        train_rows, test_rows: frozen prefixes of both tables' pictures.
    """

    quantities = ("accuracy", "loss")

    def __init__(self, model: DualEncoder, data: FederatedData, cache: Budget | None) -> None:
        order, starts = neighbours(data.clients)
        self._data = data
        self.classifier = Classifier(model, data.prompts())
        self.train_rows = ImageRows(model, data.train, order, cache, starts)
        self.test_rows = ImageRows(model, data.test, np.arange(len(data.test)), cache)

    def loss(self, texts: Tensor | None = None) -> ClassificationLoss:
        """Cross-entropy against the names of all base classes.

        Args:
            texts: embeddings of these names ``[C, E]``, where the server computes them.
        """
        given = texts if texts is None else texts.unsqueeze(0)
        return self.classifier.loss(self.train_rows, self._data.train.labels, self._data.base_classes, given)

    @torch.no_grad()
    def score(self, stack: Stack, positions: NDArray[np.int64], split: str, part: Part = "test") -> dict[str, Tensor]:
        """Right answers and cross-entropies among the split's `candidates`; see `Problem.score`."""
        classes = candidates(self._data, split)
        rows, table = (self.train_rows, self._data.train) if part == "train" else (self.test_rows, self._data.test)
        logits = self.classifier.predict(worn(stack), rows, positions, classes)
        place = np.full(len(table.class_names), -1)
        place[classes] = np.arange(len(classes))
        labels = torch.from_numpy(place[table.labels[positions]]).expand(logits.shape[:2])
        losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape)
        return {"accuracy": correct(logits, labels).float(), "loss": losses}

    def score_all(self, stack: Stack, splits: Splits) -> dict[str, dict[str, Tensor]]:
        """Each on its own, because candidates differ; see `Problem.score_all`."""
        return {split: self.score(stack, positions, split) for split, positions in splits.items()}


class Answering:
    """Pictures with questions; what is learned is the answer.

    Attributes:
        model: the generative base.
        train_rows, test_rows: frozen prefixes of both tables' rows.
    """

    def __init__(self, model: Answerer, data: FederatedData, cache: Budget | None) -> None:
        order, starts = neighbours(data.clients)
        self.model = model
        self.train_rows = AnswerRows(model, data.train, order, cache, starts)
        self.test_rows = AnswerRows(model, data.test, np.arange(len(data.test)), cache)
        self._prefers = data.test.words is not None and data.test.words.rejected is not None

    @property
    def quantities(self) -> tuple[str, ...]:
        """See `Problem.quantities`."""
        return ("accuracy", "loss", *(("preference",) if self._prefers else ()))

    def loss(self) -> AnswerLoss:
        """Mean negative log-likelihood of the answer's tokens."""
        return AnswerLoss(self.model, self.train_rows)

    @torch.no_grad()
    def score(self, stack: Stack, positions: NDArray[np.int64], split: str, part: Part = "test") -> dict[str, Tensor]:
        """Exact answers, losses per token, and whether the answer is likelier than the rejected one.

        There are no candidates, so ``split`` changes nothing; see `Problem.score`.
        """
        rows = self.train_rows if part == "train" else self.test_rows
        answered = predict(self.model, worn(stack), rows, positions)
        scores = {"accuracy": answered.right, "loss": answered.loss}
        return scores | ({"preference": answered.preferred} if answered.preferred is not None else {})

    def score_all(self, stack: Stack, splits: Splits) -> dict[str, dict[str, Tensor]]:
        """Every row is looked at once, however many splits it is in; see `Problem.score_all`."""
        if not splits:
            return {}
        union, place = np.unique(np.concatenate(list(splits.values())), return_inverse=True)
        scores = self.score(stack, union, "global")
        parts = torch.from_numpy(place).split([len(positions) for positions in splits.values()])
        return {split: {name: each[:, part] for name, each in scores.items()}
                for split, part in zip(splits, parts, strict=True)}  # fmt: skip


def make_problem(model: Base, data: FederatedData, cache: Budget | None) -> Classification | Answering:
    """The problem that data pose to a base.

    Raises:
        SynopticError: questions for a dual encoder, or classes for a generative model.
    """
    check_suited(model, data)
    return Answering(model, data, cache) if isinstance(model, Answerer) else Classification(model, data, cache)


def check_suited(model: Base, data: FederatedData) -> None:
    """Refuse data that a base cannot learn from.

    Raises:
        SynopticError: questions for a dual encoder, or classes for a generative model.
    """
    asks = data.asks
    if isinstance(model, Answerer) and not asks:
        raise SynopticError(f"{model.name} answers questions, and {data.train.name} has classes and no questions",
                            "set model=tiny-clip, or data with questions")  # fmt: skip
    if isinstance(model, DualEncoder) and asks:
        raise SynopticError(f"{model.name} tells classes apart, and {data.train.name} asks questions",
                            "set model=tiny-vlm, or data with classes")  # fmt: skip


def candidates(data: FederatedData, split: str) -> NDArray[np.int64]:
    """The classes among which an example of a split is classified.

    Base classes for ``local``, ``base`` and ``domain/...``; novel ones for ``novel``; all for ``global``.
    """
    if split == "novel":
        return data.novel_classes
    if split == "global":
        return np.sort(np.concatenate([data.base_classes, data.novel_classes]))
    return data.base_classes


def worn(stack: Stack) -> Tensors:
    """A stack by tensor names."""
    return leaves(stack) if isinstance(stack, TensorDict) else stack


def neighbours(clients: ClientIndex) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Training positions client by client, validation after them, and where each client's begin: a cache's order."""
    order = np.concatenate([clients.train_rows.positions, clients.val_rows.positions])
    starts = np.concatenate([clients.train_rows.offsets, len(clients.train_rows.positions) + clients.val_rows.offsets])
    return order, starts
