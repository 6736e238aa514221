"""R11: a newcomer of a finished federation keeps what it is given fixed, and trains what it lacks."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rooms import bench, digits, furthest, play, serve, shared_out
from synoptic.adapters.algebra import lora_stems
from synoptic.adapters.stack import names
from synoptic.core import SynopticError
from synoptic.data.federated import FederatedData, build
from synoptic.data.spec import DataSpec
from synoptic.federation.bench import Bench
from synoptic.federation.cohort import Cohort
from synoptic.federation.personal import Personal, PersonalStore
from synoptic.federation.server import Server
from synoptic.methods.fedvlm import FedVLM, onboard
from synoptic.methods.fedvlm_rules import part

SGD: dict[str, Any] = {"optimizer": "sgd", "lr": 0.05, "momentum": 0.5}


def newcomers(on: Bench, *clients: int) -> Cohort:
    return Cohort(clients, on, Personal(PersonalStore(), clients), 0)


def played(on: Bench, rounds: int) -> Server:
    return play(FedVLM(), serve(FedVLM(), on), rounds)


def test_a_newcomer_keeps_what_it_is_given_and_trains_the_rest() -> None:
    """R11, the mechanism: the federated B stays as it is, bit for bit; nothing is sent or remembered."""
    on = bench(digits(), **SGD)
    server = played(on, 2)
    cohort = newcomers(on, 0, 1, 2, 3)
    fitted = onboard(cohort, server.state.shared, 5)
    assert fitted.steps.tolist() == [5.0] * 4
    for name in names(server.state.shared):
        assert all(torch.equal(fitted.stack[name][k], server.state.shared[name]) for k in range(4))
    for stem in lora_stems(fitted.stack):
        assert all(not torch.equal(fitted.stack[f"{stem}/A"][k], on.new_adapter()[f"{stem}/A"]) for k in range(4))
    assert cohort.personal.entries == [{}] * 4


def test_with_a_fresh_b_a_newcomer_of_plora_learns_nothing() -> None:
    """The reduction: B = 0 has no gradient for A, and the update stays zero."""
    on = bench(digits(), **SGD)
    fitted = onboard(newcomers(on, 0, 1, 2, 3), part(on.new_adapter(), {"B"}), 3)
    assert furthest(fitted.stack, TensorDict({name: tensor.expand(4, *tensor.shape) for name, tensor in
                                              on.new_adapter().items()}, [4])) < 1e-7  # fmt: skip


def test_a_whole_adapter_leaves_a_newcomer_nothing_to_train() -> None:
    on = bench(digits())
    with pytest.raises(SynopticError, match=r"a newcomer would have nothing to train.*; wear it as it is"):
        onboard(newcomers(on, 0, 1, 2, 3), on.new_adapter(), 1)


@cache
def many_classes() -> FederatedData:
    return build(DataSpec(source="world", clients=4, classes=12, per_class=30, test_per_class=10), 0)


def test_a_newcomer_gets_further_than_lora_from_scratch_in_as_many_steps() -> None:
    """R11: four clients federate, a fifth with as many examples of its own joins; mean over seeds, on unseen pictures.

    Both overfit later, the sooner the fewer examples a client has; then neither is reliably ahead.
    """
    data, steps, losses = many_classes(), 10, []
    size = len(data.train) // 5
    for seed in range(3):
        server = played(bench(shared_out(data, [size] * 4), seed=seed, rounds=8, lr=2e-3, epochs=2), 8)
        on = bench(shared_out(data, [size] * 5), seed=seed, lr=2e-3)
        cohort, train = newcomers(on, 4), on.train.model_copy(update={"steps": steps})
        stacks = onboard(cohort, server.state.shared, steps).stack, cohort.fit(on.new_adapter(), train=train).stack
        losses.append([float(on.problem.score(stack, data.tests["base"], "base")["loss"].mean()) for stack in stacks])
    joined, scratch = (sum(column) / len(losses) for column in zip(*losses, strict=True))
    assert joined < 0.9 * scratch, losses
