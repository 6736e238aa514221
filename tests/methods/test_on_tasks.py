"""What every method that can train clients with different tasks must hold, whatever else it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rooms import broadcasts, play, same, serve
from runs import TASKS, stop_at
from synoptic.adapters.blocks import owned
from synoptic.adapters.stack import names, size_bytes
from synoptic.core import SynopticError
from synoptic.core.files import read_json
from synoptic.experiment.evaluate import evaluate
from synoptic.experiment.recipe import load_recipe
from synoptic.experiment.runner import resume, run
from synoptic.federation.cohort import Cohort
from synoptic.learning.fit import Fitted
from synoptic.methods.base import load_method, registry
from tasking import task_bench

SEVERAL = [
    name for name in registry()
    if load_method(name).several_tasks and not load_method(name).pools_data
    and not (load_method(name).dual_encoder_only or load_method(name).answerer_only)
]  # fmt: skip
SENDING = [name for name in SEVERAL if name != "local"]
WHOLE = [name for name in SENDING if name != "fedper"]
"""Whose clients share all that they have."""

BASELINES = ["finetune", "perfedavg", "ditto", "fedper"]
"""New here, and not for several tasks alone; `experiment/test_resume.py` stops and resumes those that are."""


def test_who_trains_clients_with_different_tasks() -> None:
    assert {"local", "fedavg", "fedprox", "tap", "disentafl", *BASELINES} <= set(SEVERAL)
    assert load_method("centralized").several_tasks


# -- what travels ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", [False, True])
@pytest.mark.parametrize("name", SENDING)
def test_r1_every_tensor_that_a_client_owns_equals_the_servers(
    name: str, wire: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encoder, backbone and head, bit for bit, after every aggregation. (The paper's code fails for the backbone.)"""
    kind = load_method(name)
    received = broadcasts(kind, monkeypatch)
    on, method = task_bench(), kind()
    server = serve(method, on, wire=wire)
    method.begin(server)
    for t in range(2):
        held = server.state.adapter.clone()
        server.round = t
        method.round(server, t)
        now = [(client, adapter) for round_, client, adapter in received if round_ == t]
        assert sorted(client for client, _ in now) == [0, 1, 2]
        for client, adapter in now:
            shared = [one for one in names(on.new_adapter([client])) if one in set(names(held))]
            assert same(adapter, held.select(*shared))
            rooms = {one.partition("/")[0] for one in shared}
            assert rooms >= ({"encoder", "mote", "expert", "mome"} | ({"head"} if name in WHOLE else set()))
        moved = [one for one in names(held) if not torch.equal(held[one], server.state.adapter[one])]
        assert {one.partition("/")[0] for one in moved} >= {"mote", "expert", "mome"}, "and aggregation moves them"


@pytest.mark.parametrize("name", SENDING)
def test_only_what_is_trained_travels(name: str) -> None:
    on, method = task_bench(), load_method(name)()
    server = play(method, serve(method, on), 1)
    shared = sum(size_bytes(on.owned(server.state.adapter, [client])) for client in range(3))
    sent = server.ledger.dump()
    assert sent["train.adapter"] == {"down": shared, "up": shared}
    assert server.ledger.total("up") - shared <= 3 * 12 + 4 * 4, "beside it numbers: rows, losses, counts"
    whole = sum(size_bytes(on.new_adapter([client])) for client in range(3))
    assert shared == whole if name in WHOLE else shared < whole


# -- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SEVERAL)
def test_every_client_takes_steps_whenever_it_trains(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: dict[int, list[float]] = {}
    original = Cohort.fit

    def counting(cohort: Cohort, *given: Any, **named: Any) -> Fitted:
        fitted = original(cohort, *given, **named)
        for client, steps in zip(cohort.clients, fitted.steps.tolist(), strict=True):
            taken.setdefault(client, []).append(steps)
        return fitted

    monkeypatch.setattr(Cohort, "fit", counting)
    on, method = task_bench(rounds=1), load_method(name)()
    server = play(method, serve(method, on), 1)
    assert sorted(taken) == [0, 1, 2]
    assert min(min(steps) for steps in taken.values()) > 0
    assert server.failures == []


@pytest.mark.parametrize("name", SEVERAL)
def test_it_learns(name: str) -> None:
    """On the session's random base: pictures that it has not seen, and the loss of all that it has."""
    archetypes = [("shapes", "pictures"), ("pictures",)]
    on, method = task_bench(archetypes, rounds=3, optimizer="adamw", lr=0.01, epochs=2), load_method(name)()
    server, losses = serve(method, on), []
    method.begin(server)
    model = "personal" if method.has_personal else "shared"
    before = evaluate(method, server, False, None).metrics
    for t in range(3):
        server.round = t
        method.round(server, t)
        losses.append(server.log["loss"])
    method.end(server)
    after = evaluate(method, server, False, None).metrics
    assert losses[2] < 0.9 * losses[0]
    error = f"{model}/local/pictures/error/mean"
    assert after[error] < before[error] - 0.02


@pytest.mark.parametrize("name", SENDING)
def test_a_task_that_nobody_else_has_is_trained_like_any_other(name: str) -> None:
    on, method = task_bench(archetypes=[("shapes",), ("colours",)]), load_method(name)()
    server = serve(method, on)
    method.begin(server)
    before = server.state.adapter.clone()
    method.round(server, 0)
    own = owned(server.state.adapter, ["expert/text.colours", "mome/colours"])
    assert any(not torch.equal(own[one], before[one]) for one in names(own))
    metrics = evaluate(method, server, False, None).metrics
    models = [model for model in ("shared", "personal") if getattr(method, f"has_{model}")]
    assert all(f"{model}/local/colours/loss/mean" in metrics for model in models)


# -- runs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BASELINES)
def test_stop_and_resume_end_with_the_same_bits(tmp_path: Path, name: str) -> None:
    settings = ["data=tasks", *TASKS, "rounds=2", "train.batch_size=8", "compute.threads=1", "federation.stack=2"]
    whole = run(load_recipe(name, [*settings, f"output={tmp_path / 'whole'}"])).summary
    with pytest.raises(KeyboardInterrupt):
        run(load_recipe(name, [*settings, f"output={tmp_path / 'parts'}"]), [stop_at("round", 0)])
    (folder,) = (tmp_path / "parts").iterdir()
    again = resume(folder).summary
    assert again["final_hash"] == whole["final_hash"] == read_json(folder / "summary.json")["final_hash"]
    assert again["metrics"] == whole["metrics"]
    assert again["bytes"] == whole["bytes"]


# -- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            ["data.tasks.archetype=x"],
            r"'data\.tasks\.archetype' does not exist; did you mean 'data\.tasks\.archetypes'\?",
        ),
        (["data.tasks.archetypes=[[shape]]"], "names 'shape', which is no task; did you mean 'shapes'"),
        (["data.tasks.archetypes=x"], r"data\.tasks\.archetypes"),
    ],
)
def test_misspelt_tasks_get_a_suggestion(tmp_path: Path, settings: list[str], sentence: str) -> None:
    with pytest.raises(SynopticError, match=sentence):
        run(load_recipe("tap", [*settings, "rounds=1", f"output={tmp_path}"]))
    assert not list(tmp_path.iterdir())
