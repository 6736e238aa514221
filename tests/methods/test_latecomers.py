"""Clients of MoR that were not there when reward models learned, and come while the policy does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

import answerers
from aligned import SETTINGS, TASTES, aligning, aligning_bench, tastes
from rooms import furthest, play, same, serve
from synoptic.adapters.stack import size_bytes
from synoptic.core import SynopticError
from synoptic.core.files import digest
from synoptic.experiment.recipe import Recipe, load_recipe
from synoptic.experiment.runner import resume, run
from synoptic.federation.local import LocalFederation
from synoptic.federation.message import Failure, Replies, encode
from synoptic.federation.personal import PersonalStore
from synoptic.federation.server import Server
from synoptic.learning.negatives import with_own_negatives
from synoptic.learning.routing import Statistics
from synoptic.methods.latecomers import Told
from synoptic.methods.mor import MoR, unpacked

TWO = {"reward_rounds": 2}


def step_by_step(method: MoR, rounds: int, **options: Any) -> tuple[Server, PersonalStore, list[list[int]]]:
    """A server after so many rounds, everybody's personal state, and who was asked for scores in each round."""
    store = PersonalStore()
    on = aligning_bench(tastes(validation=0.4, train=24), rounds=6)
    server = serve(method, on, store=store, **options)
    deliver, asked = server._federation.deliver, [set[int]() for _ in range(rounds)]

    def noting(name: str, clients: Any, round_: int, payload: Any) -> list[Replies]:
        if name == "score":
            asked[round_] |= {*clients}
        return deliver(name, clients, round_, payload)

    server._federation.deliver = noting  # type: ignore[method-assign]
    method.begin(server)
    for t in range(rounds):
        server.round = t
        method.round(server, t)
    return server, store, [sorted(some) for some in asked]


def kept(store: PersonalStore, client: int) -> str:
    return digest(encode(store.load(client)))


@pytest.mark.parametrize("router", ["gates", "discriminant", "index", "uniform"])
def test_whoever_comes_late_learns_what_it_missed_and_is_asked_from_then_on(router: str) -> None:
    """M11: its reward model is the one it would have had, and nobody else's state has changed."""
    late = aligning(MoR, router=router, late=4, index_rounds=3, **TWO)
    server, store, asked = step_by_step(late, 5, stack=1)
    assert asked == [[], [], [0, 1], [0, 1], [0, 1, 2]]
    assert server.state.there.tolist() == [1, 1, 1]
    assert not server.failures
    prompt, everybody, _ = step_by_step(aligning(MoR, router=router, index_rounds=3, **TWO), 3, stack=1)
    assert [kept(store, client) for client in range(3)] == [kept(everybody, client) for client in range(3)]
    assert "missed" not in prompt.state and "told" not in prompt.state, "it costs nothing where all are there"
    torch.testing.assert_close(server.state.accuracy, prompt.state.accuracy)
    if router == "discriminant":
        both = (unpacked(one.state.router) for one in (server, prompt))
        first, second = (one.logits(torch.ones(2, one.weight.shape[1])) for one in both)
        torch.testing.assert_close(first, second)


NEGATIVES = {"judges": [{"negatives": 1.0}], "demonstrate": {"epochs": 1, "steps": 4, "lr": 0.05}, "router": "uniform"}


def test_whoever_draws_worse_answers_is_sent_the_policy_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are drawn with what the server has imitated, not with the bare base; a latecomer gets it when it comes."""
    drawn: list[TensorDict | None] = []

    def noting(model: Any, table: Any, order: Any, share: float, seed: int, policy: TensorDict | None = None) -> Any:
        drawn.append(policy)
        return with_own_negatives(model, table, order, share, seed, policy)

    monkeypatch.setattr("synoptic.learning.judges.with_own_negatives", noting)
    server, store, asked = step_by_step(aligning(MoR, late=4, **TWO, **NEGATIVES), 5, stack=1)
    assert asked == [[], [], [0, 1], [0, 1], [0, 1, 2]]
    assert server.state.prepared.tolist() == [1, 1, 1]
    assert server.ledger.summary()["by_kind"]["prepare.policy"]["down"] == 3 * size_bytes(server.state.reference)
    assert all(policy is not None and same(policy, server.state.reference) for policy in drawn)
    _, everybody, _ = step_by_step(aligning(MoR, **TWO, **NEGATIVES), 3, stack=3)
    for client in range(3):
        one, other = (where.load(client)["judge"] for where in (store, everybody))
        assert furthest(one, other) < 1e-5  # type: ignore[arg-type]


def test_whoever_could_not_be_sent_the_policy_learns_later(monkeypatch: pytest.MonkeyPatch) -> None:
    deliver = LocalFederation.deliver

    def delivered(on: LocalFederation, name: str, clients: Any, round_: int, payload: Any) -> list[Replies]:
        if name == "prepare" and round_ == 0:
            gone = Replies([], {}, [Failure(1, round_, name, "the line is dead")])
            return [*deliver(on, name, [0, 2], round_, payload), gone]
        return deliver(on, name, clients, round_, payload)

    monkeypatch.setattr(LocalFederation, "deliver", delivered)
    server, _, asked = step_by_step(aligning(MoR, **TWO, **NEGATIVES), 3)
    assert server.state.prepared.tolist() == [1, 1, 1]
    assert asked[2] == [0, 1, 2]
    assert server.state.missed[:, 1].tolist() == [1, 0], "it is there, with one round of its pairs fewer"


def test_whoever_fails_is_tried_in_every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gone in the second round of reward models and in the first one of the policy; then it takes three steps in."""
    deliver = LocalFederation.deliver
    seen: list[tuple[int, str]] = []

    def delivered(on: LocalFederation, name: str, clients: Any, round_: int, payload: Any) -> list[Replies]:
        if list(clients) == [1]:
            seen.append((round_, name))
        if 1 in clients and (round_ in (1, 2) or (round_ == 3 and name == "calibrate")):
            others = [client for client in clients if client != 1]
            gone = Replies([], {}, [Failure(1, round_, name, "the line is dead")])
            return [*(deliver(on, name, others, round_, payload) if others else []), gone]
        return deliver(on, name, clients, round_, payload)

    monkeypatch.setattr(LocalFederation, "deliver", delivered)
    server, _, asked = step_by_step(aligning(MoR, router="uniform", **TWO), 5)
    assert seen == [(3, "learn"), (3, "calibrate"), (4, "calibrate"), (4, "meet")], "it learned once"
    assert asked == [[], [], [0, 2], [0, 2], [0, 1, 2]]
    assert not server.state.missed.any()


def test_a_client_that_never_can_is_said_in_every_round_and_stops_nobody() -> None:
    method = aligning(MoR, router="uniform", judges=[{}, {"script": "aligned_script:always_breaks"}, {}])
    server, _, asked = step_by_step(method, 4)
    assert asked == [[], [0, 2], [0, 2], [0, 2]]
    assert [(one.client, one.round, one.task) for one in server.failures] == [
        (1, 1, "calibrate"), (1, 2, "calibrate"), (1, 3, "calibrate"),
    ]  # fmt: skip


def small(output: Path, *changes: str) -> Recipe:
    given = [f"method.{name}={json.dumps(value)}" for name, value in SETTINGS.items()]
    more = ["data.questions.train=24", "data.validation=0.4"]
    return load_recipe("mor", [*TASTES, *more, *given, f"model={answerers.folder('llava')}", "compute.threads=1",
                               "federation.stack=3", "rounds=4", f"output={output}", *changes])  # fmt: skip


def test_a_run_with_a_latecomer_that_stopped_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    whole = run(small(tmp_path / "whole", "method.late=3"))

    def stop(event: dict[str, Any]) -> None:
        if event["type"] == "round" and event["round"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(small(tmp_path / "stopped", "method.late=3"), [stop])
    (folder,) = (tmp_path / "stopped").iterdir()
    again = resume(folder)
    assert again.summary["final_hash"] == whole.summary["final_hash"]
    assert again.metrics == whole.metrics


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_what_was_told_comes_back_from_the_state(data: st.DataObject) -> None:
    clients, width = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 4))
    described = data.draw(st.sets(st.integers(0, clients - 1)))
    gated = data.draw(st.sets(st.sampled_from(sorted(described)))) if described else set()
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))

    def some(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.normal(size=shape))

    count = torch.tensor(3.0).double()
    told = Told({client: Statistics(count, some(width), some(width, width)) for client in described},
                {client: (some(width), count / 2) for client in gated})  # fmt: skip
    again = Told.unpacked(told.packed(clients))
    assert again.statistics.keys() == described and again.gates.keys() == gated
    for client in described:
        assert torch.equal(again.statistics[client].second, told.statistics[client].second)
        assert torch.equal(again.statistics[client].mean, told.statistics[client].mean)
    for client in gated:
        assert torch.equal(again.gates[client][0], told.gates[client][0])


def test_a_latecomer_that_would_be_alone_is_refused() -> None:
    method = aligning(MoR, late=2)
    with pytest.raises(SynopticError, match=r"method\.late=2 is the round of the last client, and there is one"):
        play(method, serve(method, aligning_bench(tastes(1))), 1)
    with pytest.raises(SynopticError, match="late is about clients' own reward models"):
        load_recipe("mor", ["method.late=2", "method.rewards=average"])
