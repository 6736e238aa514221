"""The workbench that all cohorts share: the frozen base, the data, the caches and the training settings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tensordict import TensorDict

from synoptic.adapters.spec import AdapterSpec
from synoptic.data.federated import FederatedData
from synoptic.learning.classifier import Classifier, ImageRows
from synoptic.learning.spec import TrainSpec
from synoptic.models.cache import Budget
from synoptic.models.dual_encoder import DualEncoder


@dataclass(frozen=True)
class Bench:
    """What a task needs besides its message. On a real site it holds that site's data, with one client."""

    model: DualEncoder
    data: FederatedData
    classifier: Classifier
    train_rows: ImageRows
    test_rows: ImageRows
    adapter: AdapterSpec
    train: TrainSpec
    seed: int
    rounds: int

    def new_adapter(self) -> TensorDict:
        """The adapter that everybody can make from the recipe alone; its update is zero."""
        return self.model.new_adapter(self.adapter, self.seed)


def make_bench(
    model: DualEncoder, data: FederatedData, adapter: AdapterSpec, train: TrainSpec, seed: int, rounds: int,
    cache: Budget | None,
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
    """
    clients = data.clients
    order = np.concatenate([clients.train_rows.positions, clients.val_rows.positions])
    starts = np.concatenate([clients.train_rows.offsets, len(clients.train_rows.positions) + clients.val_rows.offsets])
    return Bench(
        model=model,
        data=data,
        classifier=Classifier(model, data.prompts()),
        train_rows=ImageRows(model, data.train, order, cache, starts),
        test_rows=ImageRows(model, data.test, np.arange(len(data.test)), cache),
        adapter=adapter,
        train=train,
        seed=seed,
        rounds=rounds,
    )
