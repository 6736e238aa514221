from __future__ import annotations

from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rooms import bench, digits, final, furthest, play, reference, same, serve
from synoptic.adapters.stack import expand, size_bytes
from synoptic.federation.bench import Bench
from synoptic.federation.cohort import Cohort, PersonalLeak
from synoptic.federation.message import Replies
from synoptic.federation.personal import Personal, PersonalStore
from synoptic.learning.batches import plan
from synoptic.methods.base import task
from synoptic.methods.ditto import Ditto
from synoptic.methods.fedavg import FedAvg
from synoptic.methods.local import Local
from tasking import task_bench


def ditto(mu: float) -> Ditto:
    return Ditto(Ditto.Settings(mu=mu))


def personal(method: Any, on: Bench, field: str = "model", **options: Any) -> list[TensorDict]:
    store = PersonalStore()
    play(method, serve(method, on, store=store, **options), 2)
    return [store.load(client)[field] for client in store.clients()]  # type: ignore[misc]


ON = [bench(digits(), lr=0.01), task_bench()]
NAMES = ["digits", "tasks"]


@pytest.mark.parametrize("on", ON, ids=NAMES)
def test_the_shared_adapter_is_fedavgs_bit_for_bit(on: Bench) -> None:
    assert same(final(ditto(1.0), on), final(FedAvg(), on))


@pytest.mark.parametrize("on", ON, ids=NAMES)
def test_without_a_term_personal_models_are_locals_bit_for_bit(on: Bench) -> None:
    ours, theirs = personal(ditto(0.0), on, participation=2), personal(Local(), on, "adapter", participation=2)
    assert len(ours) == len(theirs)
    assert all(same(one, two) for one, two in zip(ours, theirs, strict=True))


def test_two_rounds_are_algorithm_one() -> None:
    """v <- v - eta (grad F(v) + mu (v - w)) with dense weights, as an ordinary program."""
    on, mu, lr = bench(digits(), optimizer="sgd", lr=0.05, batch_size=4), 2.0, 0.05
    w = on.new_adapter()
    v, n = [dict(w.items()) for _ in range(4)], [len(on.data.clients.train(k)) for k in range(4)]
    for t in range(2):
        sent = []
        for k in range(4):
            batches = plan(on.data.clients.train(k), on.train, 0, t, k)
            sent.append(reference(on.data).train(w, batches, lambda p: torch.optim.SGD(p, lr)))
            for batch in batches:
                moving = {name: x.detach().requires_grad_() for name, x in v[k].items() if not name.endswith("/scale")}
                loss = reference(on.data).loss({**v[k], **moving}, batch)
                slopes = torch.autograd.grad(loss, list(moving.values()))
                for (name, x), slope in zip(moving.items(), slopes, strict=True):
                    v[k][name] = x.detach() - lr * (slope + mu * (x.detach() - w[name]))
        w = TensorDict({name: sum(n[k] / sum(n) * sent[k][name] for k in range(4)) for name in sent[0]}, [])
    for one, plain, alone in zip(personal(ditto(mu), on), v, personal(ditto(0.0), on), strict=True):
        assert furthest(one, TensorDict(plain, [])) < 2e-5
        assert furthest(one, alone) > 1e-4, "the term must matter"


@pytest.mark.parametrize(
    "on", [bench(digits(), optimizer="sgd", lr=0.02, batch_size=4), task_bench(lr=0.02)], ids=NAMES
)
def test_a_larger_term_stays_nearer_to_the_shared_adapter(on: Bench) -> None:
    w = final(FedAvg(), on, rounds=1)
    apart = [sum(furthest(one, on.owned(w, [k])) for k, one in enumerate(personal(ditto(mu), on)))
             for mu in (0.0, 3.0, 30.0)]  # fmt: skip
    assert apart[0] > apart[1] > apart[2] > 0


def test_an_adapter_travels_as_by_fedavg_and_a_model_stays() -> None:
    on, store = task_bench(), PersonalStore()
    server = play(ditto(0.1), serve(ditto(0.1), on, store=store), 1)
    plain = play(FedAvg(), serve(FedAvg(), on), 1)
    assert {way: server.ledger.total(way) for way in ("up", "down")} == {
        way: plain.ledger.total(way) for way in ("up", "down")
    }
    assert server.work == {name: 2 * count for name, count in plain.work.items()}
    for client in range(3):
        assert {name: size_bytes(kept) for name, kept in store.load(client).items()} == {  # type: ignore[arg-type]
            "model": size_bytes(on.new_adapter([client]))
        }


def test_the_personal_model_cannot_leave() -> None:
    class Leaking(Ditto):
        @task
        def train(self, cohort: Cohort, adapter: TensorDict) -> Replies:
            cohort.personal["model"] = cohort.fit(self._own(cohort)).stack
            return cohort.reply(adapter=self._own(cohort), examples=cohort.examples)

    on = bench(digits())
    with pytest.raises(PersonalLeak, match="personal"):
        play(Leaking(), serve(Leaking(), on), 1)


def test_a_newcomer_begins_with_everybodys_adapter() -> None:
    on = bench(digits(), lr=0.01)
    server = play(ditto(0.1), serve(ditto(0.1), on), 1)
    start, patterns = ditto(0.1).newcomer(Cohort([0], on, Personal(PersonalStore(), [0]), 1), server.state.adapter)  # type: ignore[misc]
    assert same(start, expand(server.state.adapter, 1))
    assert patterns == ["*"]


def test_stacked_is_one_by_one() -> None:
    on = task_bench(groups=2)
    one, many = (personal(ditto(0.5), on, stack=stack) for stack in (1, 99))
    assert max(furthest(*pair) for pair in zip(one, many, strict=True)) < 1e-4
