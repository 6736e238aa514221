from __future__ import annotations

from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rooms import bench, digits, furthest, play, reference, same, serve
from synoptic.core.seeds import stream_seed
from synoptic.federation.bench import Bench
from synoptic.federation.personal import PersonalStore
from synoptic.learning.batches import plan
from synoptic.methods.finetune import TUNED, FineTune
from synoptic.methods.perfedavg import PerFedAvg
from tasking import task_bench


def per(alpha: float) -> PerFedAvg:
    return PerFedAvg(PerFedAvg.Settings(alpha=alpha))


def played(method: Any, on: Bench, **options: Any) -> tuple[Any, list[TensorDict]]:
    store = PersonalStore()
    server = play(method, serve(method, on, store=store, **options), on.rounds)
    return server, [store.load(client)[TUNED] for client in range(len(on.data.clients))]  # type: ignore[misc]


@pytest.mark.parametrize("on", [bench(digits(), rounds=2, lr=0.01), task_bench()], ids=["digits", "tasks"])
def test_without_looking_ahead_it_is_fedavg_and_fine_tuning_bit_for_bit(on: Bench) -> None:
    (ours, own), (theirs, other) = played(per(0.0), on), played(FineTune(), on)
    assert same(ours.state.adapter, theirs.state.adapter)
    assert all(same(one, two) for one, two in zip(own, other, strict=True))
    assert ours.work == theirs.work


def test_two_rounds_are_algorithm_one() -> None:
    """w <- w - beta grad f(w - alpha grad f(w, D), D') with dense weights, as an ordinary program."""
    on, alpha, beta = bench(digits(), rounds=3, optimizer="sgd", lr=0.05), 2.0, 0.05
    w, n = on.new_adapter(), [len(on.data.clients.train(k)) for k in range(4)]
    for t in range(2):
        sent = []
        for k in range(4):
            tensors = {name: tensor.clone() for name, tensor in w.items()}
            rows = on.data.clients.train(k)
            pairs = zip(plan(rows, on.train, stream_seed(0, "ahead"), t, k), plan(rows, on.train, 0, t, k), strict=True)
            for other, batch in pairs:
                there = stepped(on, tensors, slopes(on, tensors, other), alpha)
                tensors = stepped(on, tensors, slopes(on, there, batch), beta)
            sent.append(tensors)
        w = TensorDict({name: sum(n[k] / sum(n) * sent[k][name] for k in range(4)) for name in sent[0]}, [])
    ours, plain = (play(method, serve(method, on), 2).state.adapter for method in (per(alpha), FineTune()))
    assert furthest(ours, w) < 2e-5
    assert furthest(ours, plain) > 1e-4, "looking ahead must matter"


def slopes(on: Bench, tensors: dict[str, torch.Tensor], batch: Any) -> dict[str, torch.Tensor]:
    moving = {name: tensor.detach().requires_grad_() for name, tensor in tensors.items() if not name.endswith("/scale")}
    found = torch.autograd.grad(reference(on.data).loss({**tensors, **moving}, batch), list(moving.values()))
    return dict(zip(moving, found, strict=True))


def stepped(on: Bench, tensors: dict[str, torch.Tensor], by: dict[str, torch.Tensor], rate: float) -> Any:
    return {name: tensor - rate * by[name] if name in by else tensor for name, tensor in tensors.items()}


def test_a_step_that_is_only_looked_at_is_counted_as_work() -> None:
    on = task_bench()
    looking, plain = (play(method, serve(method, on), 1).work for method in (per(0.05), FineTune()))
    assert looking == {name: 2 * count for name, count in plain.items()}


def test_stacked_is_one_by_one_with_mixed_tasks() -> None:
    on = task_bench(groups=2)
    (one, own), (many, owned) = (played(per(0.5), on, stack=stack) for stack in (1, 99))
    assert furthest(one.state.adapter, many.state.adapter) < 1e-5
    assert max(furthest(*pair) for pair in zip(own, owned, strict=True)) < 1e-4
