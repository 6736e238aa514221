from __future__ import annotations

from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rooms import bench, digits, final, furthest, play, reference, same, serve
from synoptic.federation.bench import Bench
from synoptic.federation.personal import PersonalStore
from synoptic.learning.batches import plan
from synoptic.methods.fedavg import FedAvg
from synoptic.methods.finetune import TUNED, FineTune, passes
from synoptic.methods.tap import TAP
from tasking import task_bench


def finetune(**settings: Any) -> FineTune:
    return FineTune(FineTune.Settings(**settings))


def tuned(method: Any, on: Bench, field: str = TUNED, **options: Any) -> tuple[Any, dict[int, TensorDict]]:
    """The server after all rounds, and what everybody keeps."""
    store = PersonalStore()
    server = play(method, serve(method, on, store=store, **options), on.rounds)
    return server, {client: store.load(client)[field] for client in store.clients()}  # type: ignore[misc]


@pytest.mark.parametrize("tune", [0, 1])
def test_the_shared_adapter_is_fedavgs_bit_for_bit(tune: int) -> None:
    on = bench(digits(), rounds=2, lr=0.01)
    assert same(final(finetune(tune=tune), on), final(FedAvg(), on))


def test_without_tuning_there_is_no_personal_model() -> None:
    on = bench(digits(), rounds=1)
    assert not finetune(tune=0).has_personal
    server, kept = tuned(finetune(tune=0), on)
    assert kept == {}
    assert set(server.ledger.dump()) == {f"train.{field}" for field in ("adapter", "examples", "loss")}


@pytest.mark.parametrize("tune", [1, 2])
def test_everybody_tunes_the_last_shared_adapter_by_itself(tune: int) -> None:
    on = bench(digits(), rounds=2, optimizer="sgd", lr=0.05)
    server, kept = tuned(finetune(tune=tune), on, participation=2)
    assert sorted(kept) == [0, 1, 2, 3], "whoever was never asked in a round too"
    for client, adapter in kept.items():
        batches = plan(on.data.clients.train(client), passes(on.train, tune), 0, 1, client)
        plain = reference(on.data).train(server.state.adapter, batches, lambda p: torch.optim.SGD(p, 0.05))
        assert furthest(adapter, TensorDict(plain, [])) < 2e-5


def test_passes_are_passes_however_rounds_are_counted() -> None:
    on = bench(digits(), rounds=1, steps=1)
    server, _ = tuned(finetune(tune=2), on)
    rows = sum(len(on.data.clients.train(client)) for client in range(4))
    assert server.work["examples"] == 4 * on.train.batch_size + 2 * rows


@pytest.mark.parametrize("train", [{}, {"steps": 1}], ids=["passes", "steps"])
def test_it_is_the_last_stage_of_tap_from_the_federated_model_bit_for_bit(train: dict[str, int]) -> None:
    on = task_bench(**train)
    stage = {"distil": {"start": "federated", "weight": 0, "epochs": 2}}
    _, ours = tuned(finetune(tune=2), on)
    _, theirs = tuned(TAP(TAP.Settings.model_validate(stage)), on, "model")
    assert all(same(ours[client], theirs[client]) for client in range(3))


def test_with_twice_the_passes_it_works_as_much_as_tap() -> None:
    twice = task_bench(epochs=2)
    ours, _ = tuned(finetune(tune=2), twice)
    theirs, _ = tuned(TAP(), task_bench(), "model")
    assert ours.work == theirs.work


def test_at_the_end_an_adapter_goes_down_and_two_numbers_up() -> None:
    on = bench(digits(), rounds=2)
    sent = tuned(finetune(), on)[0].ledger.dump()
    assert sent["finetune.adapter"] == {"down": sent["train.adapter"]["down"] // 2, "up": 0}
    assert [sent[f"finetune.{field}"]["up"] for field in ("examples", "loss")] == [4 * 4, 4 * 4]


def test_stacked_is_one_by_one() -> None:
    on = task_bench(groups=2)
    (_, one), (_, many) = (tuned(finetune(), on, stack=stack) for stack in (1, 99))
    assert max(furthest(one[client], many[client]) for client in range(6)) < 1e-4
