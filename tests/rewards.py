"""Shared by the tests of reward models: tiny random bases of both kinds, a table of pairs, adapters drawn at random."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from tensordict import TensorDict

import answerers
import helpers
from asking import questions
from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import stack_of
from synoptic.data.federated import FederatedData
from synoptic.data.table import ExampleTable
from synoptic.federation.bench import Bench, make_bench
from synoptic.learning.rewarding import RewardSpec, Scorer
from synoptic.learning.spec import TrainSpec
from synoptic.models.cache import Budget
from synoptic.models.load import Base

KINDS = ("answerer", "encoder")
ROWS = np.arange(8)
LORA = {"text": {"lora": {"rank": 2, "layers": 1}}}


def base(kind: str) -> Base:
    """A tiny random base."""
    return answerers.base() if kind == "answerer" else helpers.base()


@cache
def table() -> ExampleTable:
    """Eight preference records, of which two share each picture, in words that both bases know."""
    asked = answerers.table()
    assert asked.words is not None
    said = {"answers": ("red", "a circle", "red circle .", "the circle"),
            "rejected": ("circle", "a red", "circle red .", "the red red")}  # fmt: skip
    return replace(asked, words=replace(asked.words, **{name: texts * 2 for name, texts in said.items()}))


def scorer(kind: str, cached: bool = True, **spec: Any) -> Scorer:
    """Over the table of pairs."""
    return Scorer(base(kind), table(), ROWS, RewardSpec(**spec), Budget(2**24) if cached else None)


def reward_stack(of: Scorer, adapter: Any = LORA, clients: int = 3, size: float = 0.2) -> TensorDict:
    """Reward models drawn at random."""
    one = of.new_adapter(AdapterSpec.model_validate(adapter), 0)
    return stack_of([helpers.randomised(one, seed, size) for seed in range(clients)])


def reward_bench(
    kind: str = "answerer", data: FederatedData | None = None, adapter: Any = LORA, reward: RewardSpec | None = None,
    rounds: int = 2, **train: Any,
) -> Bench:  # fmt: skip
    """A workbench for reward models; ``train`` are fields of `TrainSpec`."""
    spec = TrainSpec(**({"batch_size": 8} | train))
    return make_bench(base(kind), data or questions(rejected=True), AdapterSpec.model_validate(adapter), spec, 0,
                      rounds, Budget(2**26), reward or RewardSpec())  # fmt: skip
