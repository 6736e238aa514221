"""What MoR makes of pairs, reward models and recipes at the edge, and of clients that lie, fail or are gone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import answerers
from aligned import SETTINGS, TASTES, aligning, aligning_bench, tastes
from rooms import play, serve
from synoptic.adapters.stack import leaves
from synoptic.core import SynopticError
from synoptic.data.federated import FederatedData
from synoptic.data.rows import Rows
from synoptic.experiment.events import read_events
from synoptic.experiment.recipe import Recipe, load_recipe
from synoptic.experiment.runner import resume, run
from synoptic.federation.local import LocalFederation
from synoptic.federation.message import Failure
from synoptic.federation.server import Server
from synoptic.methods.base import Cohort, Replies, task
from synoptic.methods.fedgrpo import FedGRPO
from synoptic.methods.mor import MoR


def small(output: Path, *changes: str) -> Recipe:
    """A run of four rounds."""
    settings = [f"method.{name}={json.dumps(value)}" for name, value in SETTINGS.items()]
    return load_recipe("mor", [*TASTES, *settings, f"model={answerers.folder('llava')}", "compute.threads=1",
                               "federation.stack=3", "rounds=4", f"output={output}", *changes])  # fmt: skip


def played(kind: type[MoR] = MoR, data: FederatedData | None = None, **settings: Any) -> Server:
    method = aligning(kind, **settings)
    return play(method, serve(method, aligning_bench(data)), 3)


def finite(server: Server) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in leaves(server.state.adapter).values())


def told(server: Server) -> set[tuple[int, str]]:
    """Which clients failed in which task."""
    return {(failure.client, failure.task) for failure in server.failures}


# -- pairs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pairs", [1, 10])
def test_a_client_with_few_pairs_takes_part_if_it_can_spare_one_to_calibrate_on(pairs: int) -> None:
    data = tastes(train=40, validation=0.0)
    held = data.clients.train_rows
    own = [held[client][: pairs if client == 1 else None] for client in range(3)]
    owner = np.repeat(np.arange(3), [len(rows) for rows in own])
    few = replace(data, clients=replace(data.clients, train_rows=Rows.grouped(owner, 3, np.concatenate(own))))
    server = played(data=few, router="uniform")
    assert finite(server)
    assert server.state.there.tolist() == [1, float(pairs > 1), 1]
    reasons = {failure.reason for failure in server.failures if failure.client == 1}
    assert all("client 1 has no pair to calibrate on; give it pairs about more pictures" in one for one in reasons)
    assert bool(reasons) == (pairs == 1)


def test_answers_without_worse_ones_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SynopticError, match=r"no pairs of answers to learn from: .* has no rejected ones; set "):
        run(small(tmp_path, "data.questions.tastes=none"))


# -- reward models that are functions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("aligned_script:always_nan", "scores that are not finite; leave it out"),
        ("aligned_script:always_one", "gave 1 scores for 2 texts; give one for each text"),
        ("aligned_script:always_breaks", "failed (ValueError: no idea); mend the function"),
        ("aligned_script:nowhere", "'aligned_script:nowhere' cannot be imported"),
        ("no_such_module:score", "'no_such_module:score' cannot be imported"),
        ("aligned_script", "'aligned_script' names no scoring function; write it like my_module:score"),
        ("aligned_script:TRUTH", "is a dict, not a function; name a function"),
    ],
)
def test_a_function_that_gives_no_scores_leaves_its_client_out(script: str, sentence: str) -> None:
    server = played(judges=[{}, {"script": script}, {}], router="uniform")
    assert finite(server) and server.state.there.tolist() == [1, 0, 1]
    assert told(server) == {(1, "calibrate")}
    assert sentence in server.failures[0].reason


def test_a_function_that_nobody_has_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(SynopticError, match=r"'nowhere:score' cannot be imported .* is on PYTHONPATH"):
        run(small(tmp_path, "method.judges=[{script: 'nowhere:score'}]"))


def test_reward_models_that_say_the_same_to_everything_move_nothing() -> None:
    method = aligning(MoR, judges=[{"script": "aligned_script:constant"}], router="uniform",
                      policy={**SETTINGS["policy"], "beta": 0.0})  # fmt: skip
    server = play(method, serve(method, aligning_bench()), 3)
    start, now = leaves(server.state.reference), leaves(server.state.adapter)
    assert all(torch.equal(start[name], now[name]) for name in start)


# -- clients that lie -------------------------------------------------------------------------------------------------


class Lying(MoR):
    """Client 1 says what it likes."""

    def lied(self, cohort: Cohort, replies: Replies, **lies: Any) -> Replies:
        fields = dict(replies.fields)
        for name, lie in lies.items():
            each = [
                lie(replies.of(place)[name]) if client == 1 else replies.of(place)[name]
                for place, client in enumerate(cohort.clients)
            ]
            fields[name] = each if isinstance(fields[name], list) else torch.stack(each)
        return replace(replies, fields=fields)


class Reversed(Lying):
    @task
    def score(self, cohort: Cohort, rows: Any, texts: Any) -> Replies:
        return self.lied(cohort, super().score(cohort, rows, texts), scores=lambda scores: -scores)


class Loud(Lying):
    @task
    def score(self, cohort: Cohort, rows: Any, texts: Any) -> Replies:
        return self.lied(
            cohort, super().score(cohort, rows, texts), scores=lambda scores: torch.linspace(-1, 1, len(scores)) * 3e38
        )


class Boasting(Lying):
    @task
    def calibrate(self, cohort: Cohort, judge: Any = None) -> Replies:
        return self.lied(
            cohort, super().calibrate(cohort, judge), accuracy=lambda one: one + 1e30, pairs=lambda one: -one
        )


class Hollow(Lying):
    @task
    def describe(self, cohort: Cohort) -> Replies:
        return self.lied(cohort, super().describe(cohort), second=lambda square: -square)


class Nobody(Lying):
    @task
    def describe(self, cohort: Cohort) -> Replies:
        return self.lied(cohort, super().describe(cohort), count=lambda count: -1e9 * count)


class Greedy(Lying):
    @task
    def gate(self, cohort: Cohort, **sent: Any) -> Replies:
        return self.lied(cohort, super().gate(cohort, **sent), bias=lambda bias: bias + 1e300)


LIARS = [Reversed, Loud, Boasting, Hollow, Nobody, Greedy]
REFUSED = {
    Loud: {"a score of 3e+38, and normalised ones end at 3"},
    Hollow: {"no inputs have the statistics that it told"},
    Nobody: {"no inputs have the statistics that it told"},
}


@pytest.mark.parametrize("kind", LIARS)
def test_whatever_a_client_says_the_others_go_on(kind: type[Lying]) -> None:
    server = played(kind, tastes(validation=0.4, train=30))
    assert finite(server) and all(np.isfinite(value) for value in server.log.values())
    assert server.log["skipped"] == 0
    assert {failure.client for failure in server.failures} <= {1}, "nobody fails of what another one said"
    assert {failure.reason for failure in server.failures} == REFUSED.get(kind, set())
    assert server.state.there[[0, 2]].tolist() == [1, 1]


# -- clients that are gone --------------------------------------------------------------------------------------------


def gone(patch: pytest.MonkeyPatch, *rounds: int) -> None:
    """In these rounds nobody answers who is asked for scores."""
    deliver = LocalFederation.deliver

    def delivered(on: LocalFederation, name: str, clients: Any, round_: int, payload: Any) -> list[Replies]:
        if name != "score" or round_ not in rounds:
            return deliver(on, name, clients, round_, payload)
        return [Replies([], {}, [Failure(client, round_, name, "the line is dead") for client in clients])]

    patch.setattr(LocalFederation, "deliver", delivered)


def test_when_all_are_gone_rounds_go_by_until_the_run_stops_with_all_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        gone(patch, 1, 2)
        with pytest.raises(SynopticError, match="2 rounds in a row failed; mend the clients and go on with --resume"):
            run(small(tmp_path, "federation.max_failed_rounds=2"))
    (folder,) = tmp_path.iterdir()
    failed = [event for event in read_events(folder / "events.jsonl") if event["type"] == "round_failed"]
    assert [event["round"] for event in failed] == [1, 2]
    assert all("the line is dead" in event["reason"] or "nobody is left" in event["reason"] for event in failed)
    again = resume(folder)
    assert again.summary["rounds"] == 4
    assert again.summary["log"]["skipped"] == 0, "whoever is back is asked again"


def test_when_all_are_gone_for_a_round_the_next_one_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone(monkeypatch, 1)
    result = run(small(tmp_path, "rounds=3"))
    told = list(read_events(result.folder / "events.jsonl"))
    assert [event["round"] for event in told if event["type"] == "round_failed"] == [1]
    assert [event["failed"] for event in told if event["type"] == "round"] == [False, True, False]
    assert all(np.isfinite(value) for value in result.metrics.values())


# -- questions without pictures, data without questions, settings -----------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (["method.judge=x"], r"'method\.judge' does not exist; did you mean 'method\.judges'\?"),
        (["method.judges=[{scripts: 'a:b'}]"], r"'method\.judges\.scripts' does not exist; did you mean .*script'\?"),
        (["method.router=gate"], r"cannot be 'gate'; did you mean 'gates'\? It is one of: gates, discriminant, "),
        (["method.fuse=scorse"], r"cannot be 'scorse'; did you mean 'scores'\? It is one of: "),
        (["method.router=somebody"], r"cannot be 'somebody'; use one of: gates, discriminant, "),
        (["method.top=0"], r"'method\.top' cannot be 0; use a whole number, at least 1"),
        (["method.policy.group=1"], r"'method\.policy\.group' cannot be 1"),
        (["data=digits"], r"mor aligns a generative model such as tiny-vlm, and data\.source=digits asks no questions"),
        (["data=world"], r"mor aligns a generative model such as tiny-vlm, and data\.source=world asks no questions"),
    ],
)
def test_recipes(changes: list[str], sentence: str) -> None:
    with pytest.raises(SynopticError, match=sentence):
        load_recipe("mor", changes)


def test_more_experts_than_clients(tmp_path: Path) -> None:
    """FedGRPO chooses so many; MoR asks at most so many, which are all."""
    few = {"auxiliary": 4, "nearest": 2, "top": 99}
    method = aligning(FedGRPO, **few)
    with pytest.raises(SynopticError, match=r"method\.top=99 experts, and there are 3 clients; set fewer"):
        method.begin(serve(method, aligning_bench()))
    everybody = played(data=tastes(validation=0.4, train=30), top=99)
    assert everybody.state.there.tolist() == [1, 1, 1]


# -- Ctrl-C -----------------------------------------------------------------------------------------------------------


def test_ctrl_c_while_clients_score_loses_that_round_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(small(tmp_path / "whole"))
    original = MoR.score

    @task
    def score(method: MoR, cohort: Cohort, **sent: Any) -> Replies:
        if cohort.round == 2:
            raise KeyboardInterrupt
        replies: Replies = original(method, cohort, **sent)
        return replies

    with monkeypatch.context() as patch:
        patch.setattr(MoR, "score", score)
        with pytest.raises(KeyboardInterrupt):
            run(small(tmp_path / "stopped"))
    (folder,) = (tmp_path / "stopped").iterdir()
    stopped = [event for event in read_events(folder / "events.jsonl") if event["type"] == "interrupted"]
    assert [event["round"] for event in stopped] == [2]
    again = resume(folder)
    assert again.summary["final_hash"] == whole.summary["final_hash"]
    assert again.metrics == whole.metrics
