"""A client's choice among models: on its own validation examples, and only there."""

from __future__ import annotations

import torch
from tensordict import TensorDict

from helpers import randomised
from rooms import bench, same
from synoptic.adapters.stack import expand, names
from synoptic.data.federated import FederatedData, build
from synoptic.data.spec import DataSpec
from synoptic.federation.cohort import Cohort
from synoptic.federation.personal import Personal, PersonalStore
from synoptic.methods.delivery import candidates, choose, picked, shares_of, validation_losses
from synoptic.methods.probing import Half


def with_validation(share: float = 0.3) -> FederatedData:
    spec = DataSpec(source="digits", clients=3, train_limit=90, test_limit=40, validation=share)
    return build(spec, 0)


def test_the_lowest_loss_wins_and_the_default_wins_ties_and_silence() -> None:
    nan = torch.nan
    losses = torch.tensor([[2.0, 1.0, nan, nan], [1.0, 1.0, nan, 3.0], [3.0, 1.0, nan, 2.0]])
    assert choose(losses).tolist() == [1, 0, 0, 2]
    assert shares_of(torch.tensor([0, 0, 2, 1])) == {
        "delivered/global": 0.5, "delivered/between": 0.25, "delivered/own": 0.25,
    }  # fmt: skip


def test_losses_are_those_of_each_clients_own_validation_examples() -> None:
    on = bench(with_validation())
    cohort = Cohort([0, 2], on, Personal(PersonalStore(), [0, 2]), 0)
    stack = randomised(expand(on.new_adapter(), 2), 1, 0.05)
    zero = expand(on.new_adapter(), 2)
    losses = validation_losses(cohort, [stack, zero])
    for place, client in enumerate(cohort.clients):
        rows = on.data.clients.val(client)
        assert len(rows)
        for number, one in enumerate((stack, zero)):
            logits = on.classifier.predict({name: one[name][place : place + 1] for name in names(one)}, on.train_rows,
                                           rows, on.data.base_classes)[0]  # fmt: skip
            place_of = {int(label): index for index, label in enumerate(on.data.base_classes)}
            targets = torch.tensor([place_of[int(label)] for label in on.data.train.labels[rows]])
            plain = torch.nn.functional.cross_entropy(logits, targets)
            assert abs(float(losses[number, place]) - float(plain)) < 1e-5


def test_validation_examples_are_no_training_examples() -> None:
    on = bench(with_validation())
    cohort = Cohort([0, 1, 2], on, Personal(PersonalStore(), [0, 1, 2]), 0)
    for trained in (cohort, Half(cohort, 0, [0] * 3), Half(cohort, 1, [0] * 3)):
        for client, rows in zip(trained.clients, trained.positions, strict=True):
            aside = set(on.data.clients.val(client))
            assert aside
            assert not aside & set(rows)
    everything = on.data.clients.pooled()
    assert not set(everything.train(0)) & set(everything.val(0))


def test_without_validation_examples_nothing_is_known() -> None:
    on = bench(with_validation(0.0))
    cohort = Cohort([1], on, Personal(PersonalStore(), [1]), 0)
    losses = validation_losses(cohort, [expand(on.new_adapter(), 1)] * 3)
    assert losses.isnan().all()
    assert choose(losses).tolist() == [0]


def test_everybody_gets_the_candidate_of_their_choice() -> None:
    one = bench(with_validation()).new_adapter()
    newest, own = (randomised(expand(one, 3), seed) for seed in (1, 2))
    stacks = candidates(newest, own)
    chosen = picked(stacks, torch.tensor([2, 0, 1]))
    assert same(chosen[0], own[0])
    assert same(chosen[1], newest[1])
    between = TensorDict({name: (newest[name][2] + own[name][2]) / 2 for name in names(one)}, [])
    for name in names(one):
        torch.testing.assert_close(chosen[2][name], between[name])
