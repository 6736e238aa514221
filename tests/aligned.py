"""Small benches for the tests of methods that align a policy on the server: tastes, a pool, tiny random bases."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from tensordict import TensorDict

import answerers
from rooms import serve
from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import expand, leaves
from synoptic.core.seeds import generator
from synoptic.data.federated import FederatedData, build
from synoptic.data.spec import DataSpec
from synoptic.federation.bench import Bench, make_bench
from synoptic.federation.personal import PersonalStore
from synoptic.federation.server import Server
from synoptic.learning.rollouts import roll_out
from synoptic.learning.spec import TrainSpec
from synoptic.methods.aligning import Aligning
from synoptic.models.cache import Budget

LORA = {"text": {"lora": {"rank": 2, "layers": 1}}}
SETTINGS: dict[str, Any] = {
    "reward_rounds": 1, "steps": 2, "prompts": 4, "demonstrate": None,
    "policy": {"group": 3, "tokens": 4, "lr": 0.01, "temperature": 1.5},
}  # fmt: skip
TASTES = ["data=questions", "data.clients=3", "data.questions.train=12", "data.questions.test=6",
          "data.questions.tastes={}", "data.questions.public=12", "data.questions.public_test=4"]  # fmt: skip


@cache
def tastes(clients: int = 3, public: int = 12, validation: float = 0.1, **how: Any) -> FederatedData:
    """Pairs by taste, and questions of the server's."""
    asked = {"train": 12, "test": 6, "tastes": {}, "public": public, "public_test": 4, "rejected": True} | how
    return build(
        DataSpec.model_validate(
            {"source": "questions", "clients": clients, "validation": validation, "questions": asked}
        ),
        0,
    )


def aligning_bench(data: FederatedData | None = None, rounds: int = 3, **train: Any) -> Bench:
    """A workbench; ``train`` are fields of `TrainSpec`, for reward models."""
    spec = TrainSpec(**({"batch_size": 8, "lr": 0.02} | train))
    adapter = AdapterSpec.model_validate(LORA)
    return make_bench(answerers.base("llava"), data or tastes(), adapter, spec, 0, rounds, Budget(2**26))


def ready(method: Aligning, on: Bench | None = None, **options: Any) -> tuple[Server, PersonalStore]:
    """A server right before its policy's first step."""
    store = PersonalStore()
    server = serve(method, on or aligning_bench(), store=store, **options)
    method.begin(server)
    for t in range(method.settings.reward_rounds):
        server.round = t
        method.round(server, t)
    server.round = method.settings.reward_rounds
    method.introduce(server)
    return server, store


def words_said(method: Aligning, server: Server, policy: TensorDict) -> float:
    """How many words a policy says on average to the server's questions, as they are drawn in training."""
    rows, stream = server.bench.pool_rows, generator(0, "test")
    worn, how = leaves(expand(policy, 1)), method.settings.policy.decoding
    said = roll_out(rows.model, worn, rows, np.arange(12)[None], how, [stream]).texts
    return float(np.mean([len(text.split()) for group in said for text in group]))


def aligning(kind: type[Aligning], **settings: Any) -> Aligning:
    """A method with small settings; ``settings`` are laid over them."""
    return kind(kind.Settings.model_validate(SETTINGS | settings))
