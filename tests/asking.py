"""Small runs on questions: the world's, for a tiny random generative model; they take about a second each."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import answerers
from synoptic.adapters.spec import AdapterSpec
from synoptic.data.federated import FederatedData, build
from synoptic.data.spec import DataSpec
from synoptic.experiment.recipe import Recipe, load_recipe
from synoptic.experiment.runner import run
from synoptic.federation.bench import Bench, make_bench
from synoptic.learning.spec import TrainSpec
from synoptic.models.cache import Budget

QUESTIONS = ["data=questions", "data.clients=3", "data.questions.train=20", "data.questions.test=8",
             "data.questions.kinds=[colour, check]"]  # fmt: skip
SMALL = [*QUESTIONS, "train.batch_size=8", "compute.threads=1", "federation.stack=2", "rounds=2"]
DECODER = {"text": {"lora": {"rank": 2, "layers": 1}}}

SESSION = TemporaryDirectory(prefix="synoptic-tests-asking-")


def asking(output: Path, method: str = "fedavg", *changes: str) -> Recipe:
    """A run of two rounds."""
    return load_recipe(method, [*SMALL, f"model={answerers.folder('llava')}", f"output={output}", *changes])


@cache
def asked(method: str = "fedavg", *changes: str) -> Path:
    """The folder of a finished run. Whoever changes it copies it first."""
    return run(asking(Path(SESSION.name), method, *changes)).folder


@cache
def questions(clients: int = 3, rejected: bool = False) -> FederatedData:
    """A few questions, shared out by groups."""
    how = {"train": 20, "test": 8, "kinds": ("colour", "check"), "rejected": rejected}
    return build(DataSpec.model_validate({"source": "questions", "clients": clients, "questions": how}), 0)


def asking_bench(data: FederatedData, adapter: Any = DECODER, cached: bool = True, **train: Any) -> Bench:
    """A workbench; ``train`` are fields of `TrainSpec`."""
    spec = TrainSpec(**({"batch_size": 8} | train))
    budget = Budget(2**26) if cached else None
    return make_bench(answerers.base("llava"), data, AdapterSpec.model_validate(adapter), spec, 0, 4, budget)
