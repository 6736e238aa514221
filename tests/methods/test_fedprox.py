from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from rooms import bench, digits, final, furthest, reference, same
from synoptic.learning.batches import plan
from synoptic.methods.fedavg import FedAvg
from synoptic.methods.fedprox import FedProx


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_without_a_term_it_is_fedavg_bit_for_bit(optimizer: str) -> None:
    on = bench(digits(), optimizer=optimizer, lr=0.01)
    assert same(final(FedProx(FedProx.Settings(mu=0.0)), on), final(FedAvg(), on))


def test_a_round_minimises_the_loss_plus_half_mu_times_the_squared_distance() -> None:
    on = bench(digits(), optimizer="sgd", lr=0.05, batch_size=4)
    start, mu = on.new_adapter(), 2.0
    n = [len(on.data.clients.train(k)) for k in range(4)]
    local = []
    for k in range(4):
        batches = plan(on.data.clients.train(k), on.train, 0, 0, k)
        local.append(reference(on.data).train(start, batches, lambda p: torch.optim.SGD(p, 0.05), mu=mu))
    plain = TensorDict({key: sum(n[k] / sum(n) * local[k][key] for k in range(4)) for key in local[0]}, [])
    ours = final(FedProx(FedProx.Settings(mu=mu)), on, rounds=1)
    assert furthest(ours, plain) < 2e-5
    assert furthest(ours, final(FedAvg(), on, rounds=1)) > 1e-4, "the term must matter"


def test_a_larger_term_stays_nearer_to_the_start() -> None:
    on = bench(digits(), optimizer="sgd", lr=0.02, batch_size=4)
    moved = [
        furthest(final(FedProx(FedProx.Settings(mu=mu)), on, rounds=1), on.new_adapter()) for mu in (0.0, 3.0, 30.0)
    ]
    assert moved[0] > moved[1] > moved[2] > 0
