from __future__ import annotations

from typing import Any

import pytest
import torch
from tensordict import TensorDict

from helpers import randomised
from rooms import HEAD, VISION, bench, digits, final, furthest, play, reference, same, serve
from synoptic.adapters.algebra import joined
from synoptic.adapters.slots import of_slot
from synoptic.adapters.stack import adapter, names, select, size_bytes
from synoptic.core import SynopticError
from synoptic.core.seeds import stream_seed
from synoptic.experiment.recipe import load_recipe
from synoptic.federation.bench import Bench
from synoptic.federation.cohort import Cohort, PersonalLeak
from synoptic.federation.message import Replies
from synoptic.federation.personal import Personal, PersonalStore
from synoptic.learning.batches import plan
from synoptic.methods.base import task
from synoptic.methods.dual import Dual
from synoptic.methods.fedavg import FedAvg


def dual(**settings: Any) -> Dual:
    return Dual(Dual.Settings(**settings))


def played(method: Dual, on: Bench, rounds: int, **options: Any) -> tuple[Any, PersonalStore]:
    store = PersonalStore()
    return play(method, serve(method, on, store=store, **options), rounds), store


def own(store: PersonalStore, client: int) -> TensorDict:
    kept = store.load(client)["own"]
    assert isinstance(kept, TensorDict)
    return kept


def test_with_a_gate_of_zero_it_is_fedavg_bit_for_bit() -> None:
    on = bench(digits(), optimizer="sgd", lr=0.05)
    assert same(final(dual(gate=0.0), on, rounds=3), final(FedAvg(), on, rounds=3))


def test_with_a_gate_of_one_everybody_trains_alone() -> None:
    on = bench(digits(), optimizer="sgd", lr=0.05)
    server, store = played(dual(gate=1.0), on, 2)
    assert same(server.state.adapter, on.new_adapter())
    for k in range(4):
        w = on.model.new_adapter(on.adapter, stream_seed(0, "own pair"))
        for t in range(2):
            batches = plan(on.data.clients.train(k), on.train, 0, t, k)
            w = TensorDict(reference(on.data).train(w, batches, lambda p: torch.optim.SGD(p, 0.05)), [])
        assert furthest(of_slot(own(store, k), "own"), w) < 2e-5


@pytest.mark.parametrize("gate", [0.3, "learned"])
def test_a_step_is_the_equation(gate: float | str) -> None:
    """One step of plain gradient descent on W0 + (1 - a) B_g A_g + a B_l A_l with dense weights."""
    on = bench(digits(), optimizer="sgd", lr=0.05, steps=1)
    server, store = played(dual(gate=gate), on, 2)
    first, second = on.new_adapter(), on.model.new_adapter(on.adapter, stream_seed(0, "own pair"))
    stems = [name[:-2] for name in names(first) if name.endswith("/A")]
    shared = {name: first[name].clone() for name in names(first)}
    mine = [{name: second[name].clone() for name in names(second)} for _ in range(4)]
    logits = [{stem: torch.zeros(2) for stem in stems} for _ in range(4)]
    for t in range(2):
        sent = []
        for k in range(4):
            ours = {name: tensor.clone() for name, tensor in shared.items()}
            moved = [tensor.requires_grad_() for some in (ours, mine[k]) for name, tensor in some.items()
                     if not name.endswith("/scale")]  # fmt: skip
            moved += [tensor.requires_grad_() for tensor in logits[k].values()]
            worn: dict[str, torch.Tensor] = {}
            for stem in stems:
                a = torch.softmax(logits[k][stem], 0)[1] if gate == "learned" else torch.tensor(gate)
                worn[f"{stem}/A"] = torch.cat([ours[f"{stem}/A"], mine[k][f"{stem}/A"]])
                worn[f"{stem}/B"] = torch.cat([(1 - a) * ours[f"{stem}/B"], a * mine[k][f"{stem}/B"]], dim=1)
                worn[f"{stem}/scale"] = torch.tensor(1.0)
            (batch,) = plan(on.data.clients.train(k), on.train, 0, t, k)
            grads = torch.autograd.grad(reference(on.data).loss(worn, batch), moved, allow_unused=True)
            with torch.no_grad():
                for tensor, grad in zip(moved, grads, strict=True):
                    tensor.sub_(0.05 * grad if grad is not None else 0)
            for some in (ours, mine[k], logits[k]):
                for name in some:
                    some[name] = some[name].detach()
            sent.append(ours)
        n = [len(on.data.clients.train(k)) for k in range(4)]
        shared = {name: sum(n[k] / sum(n) * sent[k][name] for k in range(4)) for name in shared}  # type: ignore[misc]
    assert furthest(server.state.adapter, adapter(shared)) < 2e-5
    for k in range(4):
        assert furthest(of_slot(select(own(store, k), "*@own/*"), "own"), adapter(mine[k])) < 2e-5
        for stem in stems if gate == "learned" else []:
            bias = own(store, k)[stem.replace("/lora/", "/mixer/") + "/bias"]
            torch.testing.assert_close(bias, logits[k][stem], atol=2e-5, rtol=0)


def test_the_delivered_model_is_the_trained_one_with_its_gates_folded_in() -> None:
    on = bench(digits(), lr=0.01)
    method = dual()
    server, store = played(method, on, 2)
    cohort = Cohort([1], on, Personal(store, [1]), 2)
    kept = randomised(own(store, 1), 3)
    store.store(1, {"own": kept})
    cohort = Cohort([1], on, Personal(store, [1]), 2)
    folded = method.personal_model(cohort, method.broadcast(server))
    assert folded is not None
    worn = method._both(server.state.adapter.unsqueeze(0), kept.unsqueeze(0))
    rows = on.data.clients.train(1)[:5]
    one, two = (on.classifier.predict({name: stack[name] for name in names(stack)}, on.train_rows, rows,
                                      on.data.base_classes) for stack in (worn, folded))  # fmt: skip
    torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)
    assert all("/mixer/" not in name for name in names(folded))
    three = on.classifier.predict({name: joined(folded)[name] for name in names(joined(folded))}, on.train_rows, rows,
                                  on.data.base_classes)  # fmt: skip
    torch.testing.assert_close(one, three, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("settings", [{}, {"gate": 0.5}, {"match": True}, {"order": "alternate"}])
@pytest.mark.parametrize("participation", [1.0, 2])
def test_the_shared_pair_travels_and_nothing_else(settings: dict[str, Any], participation: float) -> None:
    on = bench(digits())
    method = dual(**settings)
    server, _ = played(method, on, 3, participation=participation)
    size = size_bytes(on.new_adapter())
    size = size // 2 + 2 * 3 if settings.get("match") else size
    messages = 3 * (4 if participation == 1.0 else 2)
    rounds_up = 2 / 3 if settings.get("order") == "alternate" else 1
    assert server.ledger.total("down") == messages * size
    assert server.ledger.total("up") == round(messages * rounds_up) * size + messages * 8


def test_absent_clients_keep_their_own_pair_bit_for_bit() -> None:
    on = bench(digits(), lr=0.01)
    method, store = dual(), PersonalStore()
    server = play(method, serve(method, on, store=store), 1)
    before = {k: own(store, k).clone() for k in range(4)}
    server.round = 1
    server._spec = server._spec.model_copy(update={"participation": 2})
    method.round(server, 1)
    assert {same(before[k], own(store, k)) for k in range(4) if k not in server.sampled} == {True}
    assert not any(same(before[k], own(store, k)) for k in server.sampled)


def test_the_own_pair_cannot_leave() -> None:
    class Leaking(Dual):
        @task
        def train(self, cohort: Cohort, adapter: TensorDict) -> Replies:
            return cohort.reply(adapter=self._both(adapter.unsqueeze(0).expand(len(cohort)), self._own(cohort)))

    on = bench(digits())
    with pytest.raises(PersonalLeak, match="personal"):
        play(Leaking(), serve(Leaking(), on), 1)


def test_stacked_is_one_by_one() -> None:
    on = bench(digits(), optimizer="sgd", lr=0.05)
    (one, first), (many, second) = (played(dual(), on, 2, stack=stack) for stack in (1, 4))
    assert furthest(one.state.adapter, many.state.adapter) < 1e-5
    assert max(furthest(own(first, k), own(second, k)) for k in range(4)) < 1e-5


def test_in_turn_only_one_pair_moves_in_a_round() -> None:
    on = bench(digits(), optimizer="sgd", lr=0.05)
    method = dual(order="alternate")
    server, store = played(method, on, 1)
    held, first = server.state.adapter, own(store, 0).clone()
    assert not same(held, on.new_adapter())
    server.round = 1
    method.round(server, 1)
    assert same(server.state.adapter, held)
    assert not same(own(store, 0), first)


def test_bad_input_is_one_sentence() -> None:
    with pytest.raises(SynopticError, match="has none"):
        play(dual(), serve(dual(), bench(digits(), HEAD)), 1)
    with pytest.raises(SynopticError, match="rank=1 has no half"):
        play(dual(match=True), serve(dual(match=True), bench(digits(), {"vision": {"lora": {"rank": 1}}})), 1)
    with pytest.raises(SynopticError, match="0 to 1, or learned"):
        load_recipe("dual", ["method.gate=2"])
    assert VISION["vision"]["lora"]["rank"] == 2
