from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tensordict import TensorDict
from torch import Tensor

import answerers
from aligned import TASTES, aligning_bench, tastes
from rooms import furthest, play, same, serve
from synoptic.adapters.algebra import mean
from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import expand, leaves, stack_of, trainable_names
from synoptic.core import SynopticError
from synoptic.data.federated import FederatedData
from synoptic.experiment.recipe import Recipe, load_recipe
from synoptic.experiment.runner import resume, run
from synoptic.federation.bench import Bench
from synoptic.federation.message import field_bytes
from synoptic.federation.personal import PersonalStore
from synoptic.federation.server import Server
from synoptic.learning.answering import scores
from synoptic.learning.batches import Batch, plan
from synoptic.methods.aligning import Aligning
from synoptic.methods.base import Cohort, Replies, task
from synoptic.methods.fedavg import FedAvg
from synoptic.methods.feddpo import REFERENCE, FedDPO, pair_totals, rows_of
from synoptic.methods.mor import MoR

SGD: dict[str, Any] = {"optimizer": "sgd", "lr": 0.05}


def feddpo(**changes: Any) -> FedDPO:
    """From a start that the recipe alone makes."""
    return FedDPO(FedDPO.Settings.model_validate({"demonstrate": None} | changes))


def bench(data: FederatedData | None = None, rounds: int = 2, **train: Any) -> Bench:
    return aligning_bench(data, rounds, **train)


def played(method: Any, on: Bench, rounds: int = 2, **options: Any) -> tuple[Server, PersonalStore]:
    store = PersonalStore()
    return play(method, serve(method, on, store=store, **options), rounds), store


def log_p(on: Bench, tensors: dict[str, Tensor], rows: np.ndarray, said: Any) -> Tensor:
    """Log-probabilities of whole answers ``[n]`` of one adapter."""
    worn = {name: tensor[None] for name, tensor in tensors.items()}
    return scores(on.model, worn, on.problem.train_rows, rows, said).total  # type: ignore[arg-type, attr-defined]


# -- equation -------------------------------------------------------------------------------------


def by_hand(on: Bench, client: int, adapter: TensorDict, start: TensorDict, round_: int, beta: float) -> TensorDict:
    """Plain gradient descent on -log sigmoid(beta (log p+ / ref+ - log p- / ref-))."""
    tensors, reference = dict(leaves(adapter)), dict(leaves(start))
    for rows in plan(on.data.clients.train(client), on.train, 0, round_, client):
        with torch.no_grad():
            ref = [log_p(on, reference, rows, said) for said in ("answer", "rejected")]
        moved = {name: tensors[name].clone().requires_grad_() for name in trainable_names(adapter)}
        now = [log_p(on, {**tensors, **moved}, rows, said) for said in ("answer", "rejected")]
        loss = -F.logsigmoid(beta * ((now[0] - ref[0]) - (now[1] - ref[1]))).mean()
        steps = zip(moved.items(), torch.autograd.grad(loss, list(moved.values())), strict=True)
        tensors |= {name: (tensor - on.train.lr * grad).detach() for (name, tensor), grad in steps}
    return TensorDict(tensors, batch_size=[])


def test_a_round_is_the_equation() -> None:
    on = bench(rounds=1, **SGD)
    server, _ = played(feddpo(beta=0.3), on, 1)
    start = on.new_adapter()
    trained = [by_hand(on, client, start, start, 0, 0.3) for client in range(3)]
    assert furthest(server.state.adapter, start) > 1e-3
    assert furthest(server.state.adapter, mean(stack_of(trained), torch.full((3,), 11.0))) < 1e-5


def test_one_client_is_dpo_on_one_machine() -> None:
    """Over two rounds, of which the second is held to the start as the first is."""
    on = bench(tastes(1), **SGD)
    server, _ = played(feddpo(beta=0.3), on)
    expected = start = on.new_adapter()
    for round_ in range(2):
        expected = by_hand(on, 0, expected, start, round_, 0.3)
    assert furthest(server.state.adapter, expected) < 1e-5


def test_the_reference_is_the_start_for_whoever_comes_and_whenever() -> None:
    """One client a round: those who come later are held to the first policy too, and each is shown it once."""
    on = bench(rounds=6, lr=0.05)
    server, store = played(feddpo(), on, 6, participation=1)
    seen = {client for client in range(3) if server.state.met[client]}
    assert len(seen) > 1 and set(store.clients()) == seen
    for client in seen:
        rows = on.data.clients.train(client)
        with torch.no_grad():
            expected = pair_totals(on.problem.train_rows, leaves(expand(on.new_adapter(), 1)), rows)  # type: ignore[attr-defined]
        kept = store.load(client)[REFERENCE]
        assert isinstance(kept, Tensor)
        torch.testing.assert_close(kept, expected, rtol=0, atol=1e-4)
    assert furthest(server.state.adapter, server.state.reference) > 0.01
    size = field_bytes(on.new_adapter())
    assert server.ledger.summary()["by_kind"]["meet.reference"] == {"up": 0, "down": len(seen) * size}


# -- reductions -----------------------------------------------------------------------------------


class Margin(FedAvg):
    """FedAvg on half the log-ratio of the rejected to the preferred answer, without any reference."""

    @task
    def train(self, cohort: Cohort, adapter: TensorDict) -> Replies:
        rows = rows_of(cohort)

        def loss(worn: Any, batch: Batch) -> Tensor:
            preferred, rejected = pair_totals(rows, worn, batch.rows.ravel()).unbind(1)
            return ((rejected - preferred) / 2).view(batch.rows.shape)

        fitted = cohort.fit(adapter, loss)
        return cohort.reply(adapter=fitted.stack, examples=cohort.examples, loss=fitted.loss)


def test_without_a_pull_to_the_reference_it_is_fedavg_on_the_margin() -> None:
    """As beta goes to 0, the loss is log 2 - beta / 2 (log p+ / ref+ - log p- / ref-): the reference drops out."""
    beta, rate = 1e-4, 0.05
    ours, _ = played(feddpo(beta=beta), bench(optimizer="sgd", lr=rate / beta))
    theirs, _ = played(Margin(), bench(optimizer="sgd", lr=rate))
    far = furthest(theirs.state.adapter, theirs.bench.new_adapter())
    assert far > 5e-3
    assert furthest(ours.state.adapter, theirs.state.adapter) < 0.01 * far


def test_at_the_start_every_pair_costs_log_two() -> None:
    server, _ = played(feddpo(), bench(rounds=1, steps=1, **SGD), 1)
    assert server.log["loss"] == pytest.approx(math.log(2), abs=1e-4)


def test_it_starts_where_mor_starts() -> None:
    assert FedDPO.Settings().demonstrate == MoR.Settings().demonstrate
    assert FedDPO.answerer_adapter == Aligning.answerer_adapter
    how = {"epochs": 1, "lr": 0.05, "batch_size": 4}
    starts = []
    for kind in (FedDPO, MoR):
        method = kind(kind.Settings.model_validate({"demonstrate": how}))
        server = serve(method, bench())
        method.begin(server)
        starts.append(server.state.adapter)
        assert same(server.state.adapter, server.state.reference)
    assert same(*starts)
    assert furthest(starts[0], server.new_adapter()) > 0.01


# -- what every method must keep ------------------------------------------------------------------


def test_stacked_is_one_by_one() -> None:
    on = bench(**SGD)
    one, three = (played(feddpo(), on, stack=stack)[0].state.adapter for stack in (1, 3))
    assert furthest(one, on.new_adapter()) > 1e-3
    assert furthest(one, three) < 1e-5


def test_the_byte_form_of_messages_changes_nothing() -> None:
    plain, wired = (played(feddpo(), bench(), wire=wire)[0].state.adapter for wire in (False, True))
    assert same(plain, wired)


def test_it_learns_what_is_preferred() -> None:
    on = bench(rounds=6, lr=0.05, epochs=2)
    server, _ = played(feddpo(beta=0.5), on, 6)
    rows = np.concatenate([on.data.clients.train(client) for client in range(3)])

    def margins(adapter: TensorDict) -> Tensor:
        with torch.no_grad():
            preferred, rejected = pair_totals(on.problem.train_rows, leaves(expand(adapter, 1)), rows).unbind(1)  # type: ignore[attr-defined]
        return preferred - rejected

    gained = margins(server.state.adapter) - margins(server.state.reference)
    assert server.log["loss"] < math.log(2) - 0.1
    assert float((gained > 0).float().mean()) > 0.65
    assert float(gained.mean()) > 0.5


def small(output: Path, *changes: str) -> Recipe:
    adapter = ["adapter.text.lora.rank=2", "adapter.text.lora.layers=1"]
    return load_recipe("feddpo", [*TASTES, *adapter, "method.demonstrate.steps=2", "train.batch_size=8", "rounds=3",
                                  f"model={answerers.folder('llava')}", "compute.threads=1", "federation.stack=2",
                                  f"output={output}", *changes])  # fmt: skip


def test_a_run_that_stopped_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    """With one client a round, so that some are shown the reference before the stop and some after it."""
    whole = run(small(tmp_path / "whole", "federation.participation=1", "rounds=4"))

    def stop(event: dict[str, Any]) -> None:
        if event["type"] == "round" and event["round"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(small(tmp_path / "stopped", "federation.participation=1", "rounds=4"), [stop])
    (folder,) = (tmp_path / "stopped").iterdir()
    again = resume(folder)
    assert again.summary["final_hash"] == whole.summary["final_hash"]
    assert again.metrics == whole.metrics


def test_the_ledger_is_that_of_fedavg_and_one_start_for_each() -> None:
    on = bench(rounds=3)
    server, store = played(feddpo(), on, 3)
    size = field_bytes(on.new_adapter())
    assert server.ledger.total("down") == 3 * size + 3 * 3 * size
    assert server.ledger.total("up") == 3 * 1 + 3 * 3 * (size + 8)
    for client in range(3):
        assert {name: tuple(field.shape) for name, field in store.load(client).items()} == {REFERENCE: (11, 2)}  # type: ignore[union-attr]


def test_what_the_reference_says_cannot_leave() -> None:
    class Leaky(FedDPO):
        @task
        def train(self, cohort: Cohort, adapter: TensorDict) -> Replies:
            return cohort.reply(told=[entry[REFERENCE].clone() for entry in cohort.personal.entries])  # type: ignore[union-attr, misc]

    with pytest.raises(SynopticError, match=r"reply field 'told' of client 0 is personal \('reference'\)"):
        played(Leaky(feddpo().settings), bench(), 1)


# -- who cannot, and bad input --------------------------------------------------------------------


def test_who_could_not_be_shown_the_start_is_missing_and_is_shown_it_later() -> None:
    class Deaf(FedDPO):
        @task
        def meet(self, cohort: Cohort, reference: TensorDict) -> Replies:
            if 1 in cohort.clients and cohort.round == 0:
                raise SynopticError("the line is dead", "wait")
            return super().meet(cohort, reference)

    method = Deaf(feddpo().settings)
    server = serve(method, bench(), min_replies=2)
    method.begin(server)
    method.round(server, 0)
    assert server.state.met.tolist() == [1, 0, 1]
    assert [(one.client, one.task) for one in server.failures] == [(1, "meet"), (1, "train")]
    assert "does not know what the first policy says to its pairs" in server.failures[1].reason
    server.round = 1
    method.round(server, 1)
    assert server.state.met.tolist() == [1, 1, 1]
    assert len(server.failures) == 2


def tied(*rows: int) -> FederatedData:
    data = tastes()
    words = data.train.words
    assert words is not None and words.rejected is not None
    rejected = tuple(words.answers[row] if row in rows else text for row, text in enumerate(words.rejected))
    return replace(data, train=replace(data.train, words=replace(words, rejected=rejected)))


def test_ties_are_refused_or_left_out() -> None:
    rows = tastes().clients.train(1)[:3].tolist()
    server, _ = played(feddpo(), bench(tied(*rows)), 1)
    assert {one.client for one in server.failures} == {1}
    assert "3 of the pairs of client 1 have the same answer twice" in server.failures[0].reason
    server, store = played(feddpo(ties="drop"), bench(tied(*rows)), 1)
    assert not server.failures
    assert server.work["examples"] == 11 + 8 + 11
    assert len(store.load(1)[REFERENCE]) == 8  # type: ignore[arg-type]


def test_answers_without_rejected_ones_are_not_enough() -> None:
    data = tastes()
    words = data.train.words
    assert words is not None
    bare = replace(data, train=replace(data.train, words=replace(words, rejected=None)))
    with pytest.raises(SynopticError, match="there are no pairs of answers to learn from"):
        played(feddpo(), bench(bare), 1)


def test_recipes() -> None:
    recipe = load_recipe("feddpo")
    assert recipe.data.source == "questions" and recipe.model == "tiny-describer"
    assert recipe.adapter == AdapterSpec.model_validate(Aligning.answerer_adapter.model_dump())
    with pytest.raises(SynopticError, match="feddpo aligns a generative model"):
        load_recipe("feddpo", ["data=digits"])
    with pytest.raises(SynopticError, match=r"method\.beta"):
        load_recipe("feddpo", ["method.beta=0"])
