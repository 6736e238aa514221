"""Which factor to share depends on the data: linear students (R10, F7), by the rules' own merging and `fit`.

Client k's truth is ``y = M_k x + noise`` with M_k of rank 4 on 32 x 32, and 24 examples: fewer than inputs. The student
of a rule is ``y = B A x``. What the clients' maps have in common decides which rule wins.

Legend: K clients, n examples, D = 32 inputs and outputs, r = 4.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.slots import in_slot
from synoptic.adapters.stack import expand, leaves, names
from synoptic.core.seeds import generator
from synoptic.learning.batches import Batch
from synoptic.learning.fit import Tensors, fit
from synoptic.learning.spec import TrainSpec
from synoptic.methods.fedvlm_rules import MERGED, RULES, Global, over, part

K, D, RANK, TRAIN, TEST = 10, 32, 4, 24, 200
ROUNDS, STEPS, NOISE, SEEDS = 20, 10, 0.05, 1
STEM = "text/lora/w"
SPEC = TrainSpec(lr=1e-2, batch_size=TRAIN)


def truth(kind: str, rng: torch.Generator) -> Tensor:
    """``M_k = B_k A_k`` of every client ``[K, D, D]``, of about unit gain."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng)

    B, A = draw(K, D, RANK) / RANK**0.5, draw(K, RANK, D) / D**0.5
    common_B, common_A = B[:1].expand(K, D, RANK), A[:1].expand(K, RANK, D)
    made: dict[str, Callable[[], Tensor]] = {
        "iid": lambda: common_B @ common_A,
        "shared B": lambda: common_B @ A,
        "shared A": lambda: B @ common_A,
        "unrelated": lambda: B @ A,
    }
    return made[kind]()


class World:
    """Training and test examples of all clients."""

    def __init__(self, kind: str, seed: int) -> None:
        rng = generator(seed, "toy", kind)
        self.M_KDD = truth(kind, rng)
        self.x_KnD = torch.randn(K, TRAIN, D, generator=rng)
        self.y_KnD = self.x_KnD @ self.M_KDD.mT + NOISE * torch.randn(K, TRAIN, D, generator=rng)
        self.unseen_KnD = torch.randn(K, TEST, D, generator=rng)

    def loss(self, worn: Tensors, batch: Batch) -> Tensor:
        """Squared error ``[K, B]``; every client has the same number of steps, so all are in every batch."""
        places = torch.from_numpy(batch.clients)[:, None], torch.from_numpy(batch.rows)
        error = students(worn, self.x_KnD[places]) - self.y_KnD[places]
        return error.square().mean(-1)

    def error(self, worn: Tensors) -> float:
        """Relative squared error on unseen inputs, mean over clients."""
        wanted = self.unseen_KnD @ self.M_KDD.mT
        missed = students(worn, self.unseen_KnD) - wanted
        return float((missed.square().sum((1, 2)) / wanted.square().sum((1, 2))).mean())


def students(worn: Tensors, x_KnD: Tensor) -> Tensor:
    """``sum over pairs of B A x``: ``[K, n, D]``."""
    stems = [name[:-2] for name in worn if name.endswith("/A")]
    return torch.stack([x_KnD @ worn[f"{stem}/A"].mT @ worn[f"{stem}/B"].mT for stem in stems]).sum(0)


def first(seed: int) -> TensorDict:
    rng = generator(seed, "toy start")
    bound = D**-0.5
    A = (torch.rand(RANK, D, generator=rng) * 2 - 1) * bound
    return TensorDict({f"{STEM}/A": A, f"{STEM}/B": torch.zeros(D, RANK), f"{STEM}/scale": torch.tensor(1.0)}, [])


@cache
def error(kind: str, rule: str) -> float:
    """What the clients' models miss, mean over SEEDS draws; personal models where there are any."""
    return float(np.mean([student(kind, rule, seed) for seed in range(SEEDS)]))


def student(kind: str, rule_name: str, seed: int) -> float:
    world, rule, start = World(kind, seed), RULES[rule_name], first(seed)
    scale, weights = part(start, {"scale"}), torch.ones(K)
    state, own = Global(part(start, rule.returned)), part(expand(start, K), rule.kept)
    plans = [[np.arange(TRAIN)] * STEPS] * K
    for t in range(ROUNDS):
        stack = worn_by(start, state, own)
        moves = names(part(stack, rule.trained(t)))
        stack = fit(stack, plans, world.loss, SPEC, SPEC.lr, trainable=moves).stack
        own = part(stack, rule.kept)
        if rule.sends:
            state = rule.merge(part(stack, rule.sent(t) | {"scale"}), weights, state, scale)
    return world.error(leaves(worn_by(start, state, own)))


def worn_by(start: TensorDict, state: Global, own: TensorDict) -> TensorDict:
    stack = over(expand(over(start, state.shared), K), own)
    return stack if state.merged is None else over(stack, expand(in_slot(state.merged, MERGED), K))


def test_where_all_want_the_same_averaging_everything_wins() -> None:
    """R2's far end: what keeps a factor never pools the evidence about it."""
    assert error("iid", "fedavg") < 0.1 * min(error("iid", "plora"), error("iid", "local"))


def test_where_outputs_have_a_map_in_common_sharing_b_beats_other_sharing() -> None:
    """R10, one direction. Evidence about inputs is never pooled, so it gains next to nothing over working alone."""
    assert error("shared B", "plora") < 0.6 * min(error("shared B", rule) for rule in ("fedsa", "fedavg", "flexlora"))
    assert error("shared B", "plora") == pytest.approx(error("shared B", "local"), rel=0.2)


def test_where_inputs_have_a_map_in_common_sharing_a_wins() -> None:
    """R10, the other: the order is turned round."""
    assert error("shared A", "fedsa") < 0.6 * min(error("shared A", rule) for rule in ("plora", "fedavg", "local"))


@pytest.mark.parametrize("rule", ["fedavg", "fedex", "plora"])
def test_where_nothing_is_in_common_working_alone_wins(rule: str) -> None:
    """F7: exact averaging does not help against unlike tasks."""
    assert error("unrelated", "local") < 0.8 * error("unrelated", rule)
