"""The workbench that all cohorts share: the frozen base, the data, the caches and the training settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tensordict import TensorDict

from synoptic.adapters.blocks import blocks_of
from synoptic.adapters.blocks import owned as owned_blocks
from synoptic.adapters.spec import AdapterSpec
from synoptic.core import SynopticError
from synoptic.data.federated import FederatedData
from synoptic.learning.answer_rows import AnswerRows
from synoptic.learning.classifier import Classifier, ImageRows
from synoptic.learning.judges import Judges
from synoptic.learning.multitasking import MultiTasking
from synoptic.learning.preferring import paired
from synoptic.learning.problem import Classification, Problem, make_problem, new_adapter
from synoptic.learning.rewarding import RewardSpec
from synoptic.learning.spec import TrainSpec
from synoptic.models.answerer import Answerer
from synoptic.models.cache import Budget
from synoptic.models.load import Base


@dataclass(frozen=True)
class Bench:
    """What a task needs besides its message. On a real site it holds that site's data, with one client."""

    model: Base
    data: FederatedData
    problem: Problem
    adapter: AdapterSpec
    train: TrainSpec
    seed: int
    rounds: int
    reward: RewardSpec | None = None
    cache: Budget | None = None

    def new_adapter(self, clients: Sequence[int] | None = None) -> TensorDict:
        """The adapter that everybody can make from the recipe alone; its update is zero.

        Args:
            clients: of one kind, for the part that they own; left out, all of it.
        """
        if self.tasking is None:
            return new_adapter(self.model, self.adapter, self.seed, self.reward)
        model = self.tasking.model
        return model.new_adapter(model.tasks if clients is None else self._kind(clients), self.seed)

    def owned(self, adapter: TensorDict, clients: Sequence[int]) -> TensorDict:
        """What clients of one kind have of an adapter of everybody's: the blocks of their tasks, or all of it.

        Blocks that are no part of the adapter stay out: a method may share only some of them.

        Raises:
            SynopticError: clients with different tasks, who have no adapter in common.
        """
        if self.tasking is None:
            return adapter
        blocks = self.tasking.model.blocks(self._kind(clients))
        return owned_blocks(adapter, blocks_of(adapter).keys() & set(blocks))

    def _kind(self, clients: Sequence[int]) -> tuple[str, ...]:
        kinds = list(self.data.kinds(clients))
        if len(kinds) != 1:
            raise SynopticError(f"clients {list(clients)} have different tasks", "ask them kind by kind")
        return kinds[0]

    @property
    def tasking(self) -> MultiTasking | None:
        """The problem of clients with different tasks; None where all have the same."""
        return self.problem if isinstance(self.problem, MultiTasking) else None

    @cached_property
    def pool_rows(self) -> AnswerRows:
        """What the server holds itself, as a generative model reads it.

        Raises:
            SynopticError: the server holds nothing, or the model is no generative one.
        """
        if not isinstance(self.model, Answerer):
            raise SynopticError(f"this needs a generative model such as tiny-vlm; {self.model.name} has no answers",
                                "set another method, or another model and data")  # fmt: skip
        if self.data.pool is None:
            raise SynopticError(f"the server holds no questions of its own beside {self.data.train.name}",
                                "set data.public, its share of the pictures, or data.questions.public")  # fmt: skip
        return AnswerRows(self.model, self.data.pool, np.arange(len(self.data.pool)), self.cache)

    @cached_property
    def judges(self) -> Judges:
        """Reward models of any kind over this data."""
        return Judges(self.model, self.data, self.cache, self.seed)

    @property
    def classification(self) -> Classification:
        """The problem of a dual encoder.

        Raises:
            SynopticError: the model is no dual encoder.
        """
        if not isinstance(self.problem, Classification):
            raise SynopticError(f"this needs a dual encoder such as tiny-clip; {self.model.name} answers questions",
                                "set another method, or another model and data")  # fmt: skip
        return self.problem

    @property
    def classifier(self) -> Classifier:
        """The dual encoder with class names; see `classification`."""
        return self.classification.classifier

    @property
    def train_rows(self) -> ImageRows:
        """Training pictures as the dual encoder sees them; see `classification`."""
        return self.classification.train_rows

    @property
    def test_rows(self) -> ImageRows:
        """Test pictures as the dual encoder sees them; see `classification`."""
        return self.classification.test_rows


def make_bench(
    model: Base, data: FederatedData, adapter: AdapterSpec, train: TrainSpec, seed: int, rounds: int,
    cache: Budget | None, reward: RewardSpec | None = None,
) -> Bench:  # fmt: skip
    """A workbench whose caches hold neighbours client by client.

    Args:
        model: the frozen base.
        data: who holds what.
        adapter: what is trained.
        train: local training.
        seed: root of all random streams.
        rounds: of the whole run, for schedules.
        cache: memory for frozen prefixes; None recomputes them at every step.
        reward: what reward models are made of, where these are trained; None for everything else.
    """
    if reward is not None:
        data = paired(data, reward)
    return Bench(model, data, make_problem(model, data, cache, reward, adapter), adapter, train, seed, rounds, reward,
                 cache)  # fmt: skip
