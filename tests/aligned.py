"""Small benches for the tests of methods that align a policy on the server: tastes, a pool, tiny random bases."""

from __future__ import annotations

from functools import cache
from typing import Any

import answerers
from synoptic.adapters.spec import AdapterSpec
from synoptic.data.federated import FederatedData, build
from synoptic.data.spec import DataSpec
from synoptic.federation.bench import Bench, make_bench
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


def aligning(kind: type[Aligning], **settings: Any) -> Aligning:
    """A method with small settings; ``settings`` are laid over them."""
    return kind(kind.Settings.model_validate(SETTINGS | settings))
