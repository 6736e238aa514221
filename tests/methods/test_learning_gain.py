"""Every method that trains must beat the frozen base by a margin, as a mean over seeds.

Rounds and margin were set after a first look, for the method that gains least (promptfl); the seeds were not chosen.
"""

from __future__ import annotations

import pytest

from rooms import bench, digits, pooled, serve, world
from synoptic.data.federated import FederatedData
from synoptic.experiment.evaluate import evaluate
from synoptic.methods.base import load_method, registry

TRAINING = [
    name for name in registry()
    if name != "zeroshot" and load_method(name)().reward is None and not load_method(name).answerer_only
    and not load_method(name).tasks_only
]  # fmt: skip
SEEDS, ROUNDS, MARGIN = range(3), 5, 0.02
HELD = {"kgcoop": 0.01}
"""A smaller margin for what is held near the frozen base on purpose."""


ON_DIGITS = ("fedavg", "feddtl", "fedvlm", "local")
"""Real pictures for some; all learn on the world."""


@pytest.mark.parametrize(
    ("source", "name"), [*(("world", name) for name in TRAINING), *(("digits", name) for name in ON_DIGITS)]
)
def test_it_learns(name: str, source: str) -> None:
    data: FederatedData = digits(4, 80, 150) if source == "digits" else world(4, 20)
    kind = load_method(name)
    defaults = {key.removeprefix("train."): value for key, value in kind.defaults.items() if key.startswith("train.")}
    settings = {"lr": 2e-3, "batch_size": 16, "epochs": 4} | defaults
    key = "personal/local/accuracy/weighted" if kind.has_personal else "shared/base/accuracy/mean"
    floor = "shared/local/accuracy/weighted" if kind.has_personal else "shared/base/accuracy/mean"
    zero = load_method("zeroshot")()
    measured = bench(data)
    before = evaluate(zero, serve(zero, measured), True, None).metrics[floor]
    after = []
    for seed in SEEDS:
        on = bench(
            pooled(data) if kind.pools_data else data, kind.adapter.model_dump(), seed=seed, rounds=ROUNDS, **settings
        )
        method = kind()
        server = serve(method, on)
        method.begin(server)
        for t in range(ROUNDS):
            server.round = t
            method.round(server, t)
        method.end(server)
        after.append(evaluate(method, server, True, None).metrics[key])
    assert sum(after) / len(after) > before + HELD.get(name, MARGIN), (before, after)
