from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from rooms import BOTH, HEAD, VISION, bench, digits, final, furthest, play, pooled, reference, serve
from synoptic.adapters.algebra import dense, lora_stems
from synoptic.adapters.stack import leaves
from synoptic.data.rows import Rows
from synoptic.federation.bench import Bench
from synoptic.learning.batches import plan
from synoptic.methods.centralized import Centralized
from synoptic.methods.fedavg import FedAvg

SGD: dict[str, Any] = {"optimizer": "sgd", "lr": 0.05, "momentum": 0.5}
WHOLE: dict[str, Any] = {"optimizer": "sgd", "lr": 0.05, "batch_size": 1000}


def plain_rounds(on: Bench, rounds: int, mu: float = 0.0) -> TensorDict:
    """McMahan et al. 2017, Algorithm 1, as an ordinary program."""
    w, clients = on.new_adapter(), range(len(on.data.clients))
    n = [len(on.data.clients.train(k)) for k in clients]
    for t in range(rounds):
        local = []
        for k in clients:
            batches = plan(on.data.clients.train(k), on.train, on.seed, t, k)
            sgd = lambda p: torch.optim.SGD(p, on.train.lr, momentum=on.train.momentum)  # noqa: E731
            local.append(reference(on.data).train(w, batches, sgd, mu))
        w = TensorDict({key: sum(n[k] / sum(n) * local[k][key] for k in clients) for key in local[0]}, [])
    return w


@pytest.mark.parametrize("adapter", [VISION, BOTH], ids=["vision", "both"])
def test_two_rounds_are_algorithm_one(adapter: dict[str, Any]) -> None:
    on = bench(digits(), adapter, **SGD)
    ours, plain = final(FedAvg(), on), plain_rounds(on, 2)
    assert furthest(plain, on.new_adapter()) > 1e-3
    assert furthest(ours, plain) < 2e-5


def test_with_adamw_too() -> None:
    on = bench(digits(), lr=1e-3, eps=1e-4)
    w = on.new_adapter()
    local = []
    for k in range(4):
        batches = plan(on.data.clients.train(k), on.train, 0, 0, k)
        adam = lambda p: torch.optim.AdamW(p, 1e-3, eps=1e-4, weight_decay=0.0)  # noqa: E731
        local.append(reference(on.data).train(w, batches, adam))
    n = torch.tensor([float(len(on.data.clients.train(k))) for k in range(4)])
    plain = TensorDict({key: torch.einsum("k,k...->...", n / n.sum(), torch.stack([one[key] for one in local]))
                        for key in local[0]}, [])  # fmt: skip
    assert furthest(final(FedAvg(), on, rounds=1), plain) < 2e-5


def test_the_product_mean_is_the_mean_of_dense_updates_cut_to_the_rank() -> None:
    on = bench(digits(), **SGD)
    server = serve(FedAvg(), on)
    trained = server.ask("train", adapter=on.new_adapter())
    ours = final(FedAvg(FedAvg.Settings(mean="product")), on, rounds=1)
    share = trained.examples.double() / trained.examples.double().sum()
    for stem in lora_stems(ours):
        exact = sum(share[k] * dense(trained.adapter[k], stem).double() for k in range(4))
        assert isinstance(exact, Tensor)
        U, S, Vh = torch.linalg.svd(exact)
        best = U[:, :2] @ torch.diag(S[:2]) @ Vh[:2]
        torch.testing.assert_close(dense(ours, stem).double(), best, rtol=0, atol=1e-6)
        assert float(S[2]) > 1e-7, "the cut must matter"


def test_when_all_clients_agree_the_product_mean_is_the_factor_mean() -> None:
    """After one round; later ones differ, because the product mean also balances A against B."""
    positions = np.tile(digits().clients.train_rows.positions[:20], 3)
    index = replace(digits().clients, train_rows=Rows(positions, np.arange(0, 80, 20)),
                    val_rows=Rows.empty(3), test_rows=Rows.empty(3))  # fmt: skip
    on = bench(replace(digits(), clients=index), **WHOLE | {"epochs": 8})
    factor = final(FedAvg(FedAvg.Settings(mean="factor")), on, rounds=1)
    product = final(FedAvg(FedAvg.Settings(mean="product")), on, rounds=1)
    for stem in lora_stems(factor):
        assert float(dense(factor, stem).abs().max()) > 1e-4
        torch.testing.assert_close(dense(factor, stem), dense(product, stem), rtol=0, atol=2e-6)


def test_one_client_with_all_data_is_plain_training() -> None:
    on = bench(pooled(digits()), **SGD)
    assert furthest(final(Centralized(), on, rounds=1), plain_rounds(on, 1)) < 2e-5


@pytest.mark.parametrize("adapter", [VISION, HEAD], ids=["lora", "head"])
def test_one_full_batch_step_is_one_big_batch_step_on_pooled_data(adapter: dict[str, Any]) -> None:
    together, shared = bench(pooled(digits()), adapter, **WHOLE), bench(digits(), adapter, **WHOLE)
    assert furthest(final(FedAvg(), shared, rounds=1), final(FedAvg(), together, rounds=1)) < 1e-5


def test_and_that_step_follows_the_pooled_gradient() -> None:
    on = bench(digits(), **WHOLE)
    start = leaves(on.new_adapter())
    moved = {name: tensor.requires_grad_() for name, tensor in start.items() if not name.endswith("/scale")}
    loss = reference(on.data).loss(start, on.data.clients.train_rows.positions)
    grads = torch.autograd.grad(loss, list(moved.values()))
    after = final(FedAvg(), on, rounds=1)
    for (name, tensor), grad in zip(moved.items(), grads, strict=True):
        torch.testing.assert_close(after[name], (tensor - 0.05 * grad).detach(), rtol=0, atol=1e-5)


def test_the_loss_that_is_logged_is_the_clients_mean_by_examples() -> None:
    on = bench(digits(), **WHOLE)
    method = FedAvg()
    server = play(method, serve(method, on), 1)
    plain = reference(on.data).loss(leaves(on.new_adapter()), on.data.clients.train_rows.positions)
    assert server.log["loss"] == pytest.approx(float(plain), abs=1e-4)


def test_only_the_cohort_moves_the_adapter() -> None:
    on = bench(digits(), **SGD)
    method = FedAvg()
    server = serve(method, on, participation=0.25)
    method.begin(server)
    method.round(server, 0)
    (client,) = server.sampled
    batches = plan(on.data.clients.train(client), on.train, 0, 0, client)
    alone = reference(on.data).train(on.new_adapter(), batches, lambda p: torch.optim.SGD(p, 0.05, momentum=0.5))
    assert furthest(server.state.adapter, TensorDict(alone, [])) < 2e-5
