"""The workbench that all cohorts share: the frozen base, the data, the caches and the training settings."""

from __future__ import annotations

from dataclasses import dataclass

from tensordict import TensorDict

from synoptic.adapters.spec import AdapterSpec
from synoptic.core import SynopticError
from synoptic.data.federated import FederatedData
from synoptic.learning.classifier import Classifier, ImageRows
from synoptic.learning.preferring import paired
from synoptic.learning.problem import Classification, Problem, make_problem, new_adapter
from synoptic.learning.rewarding import RewardSpec
from synoptic.learning.spec import TrainSpec
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

    def new_adapter(self) -> TensorDict:
        """The adapter that everybody can make from the recipe alone; its update is zero."""
        return new_adapter(self.model, self.adapter, self.seed, self.reward)

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
    return Bench(model, data, make_problem(model, data, cache, reward), adapter, train, seed, rounds, reward)
