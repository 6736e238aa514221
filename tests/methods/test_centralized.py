from __future__ import annotations

import numpy as np
import torch
from tensordict import TensorDict

from rooms import bench, digits, final, furthest, pooled, reference
from synoptic.learning.batches import plan
from synoptic.methods.centralized import Centralized
from synoptic.methods.fedavg import FedAvg


def test_pooled_data_are_everybodys_once() -> None:
    data = pooled(digits())
    everyone = np.concatenate([digits().clients.train(k) for k in range(4)])
    assert len(data.clients) == 1
    assert sorted(data.clients.train(0)) == sorted(everyone)


def test_it_is_an_ordinary_training_loop_over_all_data() -> None:
    on = bench(pooled(digits()), optimizer="sgd", lr=0.05, momentum=0.9)
    w = on.new_adapter()
    for t in range(2):
        batches = plan(on.data.clients.train(0), on.train, 0, t, 0)
        w = TensorDict(reference(on.data).train(w, batches, lambda p: torch.optim.SGD(p, 0.05, momentum=0.9)), [])
    assert furthest(final(Centralized(), on), w) < 2e-5


def test_it_asks_for_pooled_data_and_fedavg_does_not() -> None:
    assert Centralized.pools_data
    assert not FedAvg.pools_data
