from __future__ import annotations

from typing import Any

import pytest
import torch

from rooms import final, furthest, play, same, serve
from synoptic.adapters.blocks import blocks_of, owned
from synoptic.adapters.stack import adapter, expand, leaves
from synoptic.core import SynopticError
from synoptic.experiment.recipe import load_recipe
from synoptic.federation.bench import Bench
from synoptic.learning.batches import plan, zip_steps
from synoptic.methods.disentafl import DisentAFL
from synoptic.methods.fedavg import FedAvg
from synoptic.methods.finetune import FineTune
from tasking import task_bench

LR = 0.1


def apart(**settings: Any) -> DisentAFL:
    return DisentAFL(DisentAFL.Settings(**settings))


def test_without_the_term_it_is_fedavg_bit_for_bit() -> None:
    on = task_bench()
    assert same(final(apart(weight=0.0), on), final(FedAvg(), on))
    assert same(final(apart(weight=0.0, tune=1), on), final(FineTune(), on))


def test_whoever_has_one_task_of_one_modality_has_nothing_to_keep_apart() -> None:
    on = task_bench(archetypes=[("shapes",), ("colours",)])
    assert furthest(final(apart(weight=5.0), on), final(FedAvg(), on)) < 1e-6


def test_a_step_is_the_equation() -> None:
    """Loss + weight * mean squared cosine of the token means of two tasks, for a client who has both."""
    on, weight = task_bench(archetypes=[("shapes", "colours")], batch_size=99, lr=LR), 3.0
    w = on.new_adapter()
    (batch,) = zip_steps([plan(on.data.clients.train(0), on.train, 0, 0, 0)])
    moving = {name: x.clone().requires_grad_(not name.endswith("/scale")) for name, x in leaves(expand(w, 1)).items()}
    loss = on.problem.loss()(moving, batch).mean() + weight * squared_cosine(on, moving, batch.rows[0])
    names = [name for name, x in moving.items() if x.requires_grad]
    slopes = dict(zip(names, torch.autograd.grad(loss, [moving[name] for name in names]), strict=True))
    expected = adapter({name: (x - LR * slopes[name] if name in slopes else x).detach()[0]
                        for name, x in moving.items()})  # fmt: skip
    ours = final(apart(weight=weight), on, rounds=1)
    assert furthest(ours, expected) < 1e-5
    assert furthest(ours, final(FedAvg(), on, rounds=1)) > 1e-4, "the term must matter"


def squared_cosine(on: Bench, worn: Any, rows: Any) -> torch.Tensor:
    tasking = on.tasking
    assert tasking is not None
    table, means = tasking.train_rows, []
    for place, (name, modality) in enumerate((("shapes", "image"), ("colours", "text"))):
        own = rows[table.task(rows) == place]
        seen = tasking.model.features(worn, name, table.given(worn, name, own))
        means.append(seen.latent(modality))  # type: ignore[arg-type]
    return torch.stack([torch.cosine_similarity(one, two, dim=0) ** 2 for one in means[0] for two in means[1]]).mean()


def test_features_of_different_tasks_end_further_apart() -> None:
    on = task_bench(rows=20, rounds=3, epochs=2)
    rows = plan(on.data.clients.train(2), on.train.model_copy(update={"batch_size": 99}), 0, 0, 2)[0]
    ends = []
    for weight in (0.0, 5.0):
        shared = final(apart(weight=weight), on, rounds=3)
        own = expand(owned(shared, blocks_of(on.new_adapter([2]))), 1)
        ends.append(float(squared_cosine(on, leaves(own), rows)))
    assert ends[1] < ends[0] - 0.01


def test_it_is_for_clients_with_different_tasks() -> None:
    assert load_recipe("disentafl").data.source == "tasks"
    with pytest.raises(SynopticError, match="disentafl is for clients with different tasks"):
        load_recipe("disentafl", ["data=digits"])


def test_everybody_may_tune_at_the_end() -> None:
    on = task_bench()
    assert not apart().has_personal
    assert apart(tune=1).has_personal
    server = play(apart(tune=1), serve(apart(tune=1), on), 2)
    assert server.ledger.dump()["finetune.examples"]["up"] == 3 * 4
