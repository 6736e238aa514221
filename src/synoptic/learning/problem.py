"""What is learned and how it is judged: one face for classes (dual encoders) and for answers (generative models).

Legend: K clients, n examples, C classes.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.spec import AdapterSpec
from synoptic.core import SynopticError
from synoptic.data.federated import FederatedData
from synoptic.data.tasks import TaskData
from synoptic.learning.answering import AnswerLoss, AnswerRows, predict, utility
from synoptic.learning.classifier import ClassificationLoss, Classifier, ImageRows
from synoptic.learning.fit import Loss
from synoptic.learning.multitasking import MultiTasking
from synoptic.learning.objectives.contrastive import correct
from synoptic.learning.preferring import Preferring, check_pairs
from synoptic.learning.rewarding import RewardSpec, new_reward_adapter
from synoptic.learning.splits import Part, Splits, Stack, looked_at_once, neighbours, worn
from synoptic.models.answerer import Answerer
from synoptic.models.cache import Budget
from synoptic.models.dual_encoder import DualEncoder
from synoptic.models.load import Base
from synoptic.models.multitask import MultiTask, multitask_spec

__all__ = [
    "Answering", "Classification", "Part", "Problem", "Splits", "Stack", "candidates", "check_suited", "make_problem",
    "measured", "multitask", "new_adapter",
]  # fmt: skip


class Problem(Protocol):
    """What a stack of adapters is trained for and measured by. A method sees nothing else of the kind of model."""

    @property
    def quantities(self) -> tuple[str, ...]:
        """What `score` measures: ``accuracy`` and ``loss``, perhaps ``preference``, where it is known ``utility``."""
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
        self._judged = data.test.words is not None and data.test.words.gold is not None

    @property
    def quantities(self) -> tuple[str, ...]:
        """See `Problem.quantities`."""
        more = {"preference": self._prefers, "utility": self._judged}
        return ("accuracy", "loss", *(name for name, known in more.items() if known))

    def loss(self) -> AnswerLoss:
        """Mean negative log-likelihood of the answer's tokens."""
        return AnswerLoss(self.model, self.train_rows)

    @torch.no_grad()
    def score(self, stack: Stack, positions: NDArray[np.int64], split: str, part: Part = "test") -> dict[str, Tensor]:
        """Exact answers, losses per token, whether the answer is likelier than the rejected one, and true utility.

        There are no candidates, so ``split`` changes nothing; see `Problem.score`.
        """
        rows = self.train_rows if part == "train" else self.test_rows
        answered = predict(self.model, worn(stack), rows, positions)
        scores = {"accuracy": answered.right, "loss": answered.loss}
        scores |= {"preference": answered.preferred} if answered.preferred is not None else {}
        return scores | ({"utility": utility(self.model, worn(stack), rows, positions)} if self._judged else {})

    def score_all(self, stack: Stack, splits: Splits) -> dict[str, dict[str, Tensor]]:
        """Every row is looked at once, however many splits it is in; see `Problem.score_all`."""
        return looked_at_once(splits, lambda positions: self.score(stack, positions, "global"))


def make_problem(
    model: Base, data: FederatedData, cache: Budget | None, reward: RewardSpec | None = None,
    spec: AdapterSpec | None = None,
) -> Problem:  # fmt: skip
    """The problem that data pose to a base; with ``reward`` it is to tell better answers from worse ones.

    Args:
        model: the frozen base.
        data: what is learned.
        cache: memory for frozen prefixes; None recomputes them.
        reward: what reward models are made of, where these are trained.
        spec: what is trained; only data of several tasks need to know, because their model is more than the base.

    Raises:
        SynopticError: data that the base cannot learn from, see `check_suited`.
    """
    check_suited(model, data, reward)
    if isinstance(data, TaskData):
        return MultiTasking(multitask(model, data, spec or AdapterSpec()), data, cache)
    if reward is not None:
        return Preferring(model, data, reward, cache)
    return Answering(model, data, cache) if isinstance(model, Answerer) else Classification(model, data, cache)


def multitask(model: Base, data: TaskData, spec: AdapterSpec) -> MultiTask:
    """The modality-task model of all that anybody has.

    Raises:
        SynopticError: a generative base, or an adapter that such a model has no place for.
    """
    check_suited(model, data)
    assert isinstance(model, DualEncoder)
    return MultiTask(model, data.tasks, multitask_spec(spec))


def new_adapter(
    model: Base, spec: AdapterSpec, seed: int, reward: RewardSpec | None = None, data: FederatedData | None = None
) -> TensorDict:
    """A fresh adapter of a base, with a scalar head where ``reward`` asks for one.

    Of data of several tasks (``data``) it is the union of all their blocks.

    Raises:
        SynopticError: layers, targets or a rank that this base does not have; or nothing to train at all.
    """
    if isinstance(data, TaskData):
        made = multitask(model, data, spec)
        return made.new_adapter(made.tasks, seed)
    return model.new_adapter(spec, seed) if reward is None else new_reward_adapter(model, spec, reward, seed)


def check_suited(model: Base, data: FederatedData, reward: RewardSpec | None = None) -> None:
    """Refuse data that a base cannot learn from.

    Raises:
        SynopticError: questions for a dual encoder, classes for a generative model, several tasks for anything but a
            dual encoder; with ``reward``, which suits both, data without pairs of answers.
    """
    asks = data.asks
    if isinstance(data, TaskData):
        if not isinstance(model, DualEncoder):
            raise SynopticError(f"data of several tasks need a dual encoder, and {model.name} answers questions",
                                "set model=tiny-clip, or other data")  # fmt: skip
        return
    if reward is not None:
        check_pairs(data, reward)
    elif isinstance(model, Answerer) and not asks:
        raise SynopticError(f"{model.name} answers questions, and {data.train.name} has classes and no questions",
                            "set model=tiny-clip, or data with questions")  # fmt: skip
    elif isinstance(model, DualEncoder) and asks:
        raise SynopticError(f"{model.name} tells classes apart, and {data.train.name} asks questions",
                            "set model=tiny-vlm, or data with classes")  # fmt: skip


def measured(problem: Problem, split: str) -> tuple[str, ...]:
    """What is known of a split's examples: all quantities, or those of the one task that the split is about."""
    return problem.of_split(split) if isinstance(problem, MultiTasking) else problem.quantities


def candidates(data: FederatedData, split: str) -> NDArray[np.int64]:
    """The classes among which an example of a split is classified.

    Base classes for ``local``, ``base`` and ``domain/...``; novel ones for ``novel``; all for ``global``.
    """
    if split == "novel":
        return data.novel_classes
    if split == "global":
        return np.sort(np.concatenate([data.base_classes, data.novel_classes]))
    return data.base_classes
