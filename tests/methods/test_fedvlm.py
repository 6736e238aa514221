"""Identities of pLoRA (R4-R8) and of the federated-LoRA family (F1-F9): what is sent, kept, merged and reduced to what.

The equations themselves are held by `test_fedvlm_equations.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensordict import TensorDict

from helpers import clients
from rooms import BOTH, HEAD, bench, digits, furthest, play, pooled, same, serve
from synoptic.adapters import algebra
from synoptic.adapters.algebra import dense, lora_stems
from synoptic.adapters.binding import lora_factors, low_rank
from synoptic.adapters.slots import of_slot
from synoptic.adapters.stack import leaves, names, select, stack_of
from synoptic.core.seeds import generator
from synoptic.data.rows import Rows
from synoptic.experiment.evaluate import evaluate
from synoptic.federation.bench import Bench
from synoptic.federation.cohort import Cohort, PersonalLeak
from synoptic.federation.message import Replies, decode, encode
from synoptic.federation.personal import Personal, PersonalStore
from synoptic.federation.server import Server
from synoptic.methods.base import task
from synoptic.methods.fedavg import FedAvg
from synoptic.methods.fedvlm import FedVLM
from synoptic.methods.fedvlm_rules import ALL, RULES, Global, part
from synoptic.methods.local import Local

SGD: dict[str, Any] = {"optimizer": "sgd", "lr": 0.05, "momentum": 0.5}
MIXED = {"vision": {"lora": {"rank": 4, "layers": 1, "alpha": 4}}}
KEEPING = [name for name, rule in RULES.items() if rule.kept]
GLOBAL = [name for name, rule in RULES.items() if not rule.kept]
ANY_RANK = [name for name, rule in RULES.items() if rule.any_rank]
STEM = "vision/lora/w"


def fedvlm(rule: str = "plora", **settings: Any) -> FedVLM:
    return FedVLM(FedVLM.Settings(rule=rule, **settings))


def played(on: Bench, rounds: int, rule: str = "plora", stack: int = 99, wire: bool = False, **settings: Any) -> Any:
    """The server and everybody's personal state after some rounds."""
    store, method = PersonalStore(), fedvlm(rule, **settings)
    return play(method, serve(method, on, stack=stack, store=store, wire=wire), rounds), store


def cohort_of(on: Bench, store: PersonalStore, round_: int = 0) -> Cohort:
    everybody = list(range(len(on.data.clients)))
    return Cohort(everybody, on, Personal(store, everybody), round_)


def model_of(rule: str, server: Server, store: PersonalStore, **settings: Any) -> TensorDict:
    """What the server's or the first client's model is, as one adapter."""
    method = fedvlm(rule, **settings)
    if method.has_shared:
        return method.shared_model(server)
    own = method.personal_model(cohort_of(server.bench, store), method.broadcast(server))
    assert own is not None
    return own[0]


def own(store: PersonalStore, client: int, name: str = "own") -> TensorDict:
    kept = store.load(client)[name]
    assert isinstance(kept, TensorDict)
    return kept


# -- reductions -------------------------------------------------------------------------------------


def test_local_is_local_bit_for_bit() -> None:
    on, theirs = bench(digits(), BOTH, **SGD), PersonalStore()
    play(Local(), serve(Local(), on, store=theirs), 2)
    _, ours = played(on, 2, "local")
    for client in range(4):
        alone = own(theirs, client, "adapter")
        assert same(own(ours, client), part(alone, ALL))


@pytest.mark.parametrize("adapter", [BOTH, HEAD], ids=["lora", "head"])
def test_fedavg_is_fedavg_bit_for_bit(adapter: dict[str, Any]) -> None:
    on = bench(digits(), adapter, **SGD)
    server, store = played(on, 2, "fedavg")
    theirs = play(FedAvg(), serve(FedAvg(), on), 2).state.adapter
    assert same(model_of("fedavg", server, store), theirs)
    assert store.clients() == []


def test_flexlora_is_fedavg_with_the_product_mean() -> None:
    on = bench(digits(), **SGD)
    server, store = played(on, 2, "flexlora")
    method = FedAvg(FedAvg.Settings(mean="product"))
    assert furthest(model_of("flexlora", server, store), play(method, serve(method, on), 2).state.adapter) < 1e-6


@pytest.mark.parametrize("rule", ["local", "fedavg", "fedsa", "plora"])
def test_a_single_client_is_local_step_for_step(rule: str) -> None:
    """F1 and R8."""
    on = bench(pooled(digits()), BOTH, lr=1e-3)
    alone, store = PersonalStore(), PersonalStore()
    play(Local(), serve(Local(), on, store=alone), 3)
    server, store = played(on, 3, rule)
    assert same(model_of(rule, server, store), own(alone, 0, "adapter"))


def test_a_single_client_of_fedex_and_flexlora_is_local_in_its_update() -> None:
    """F1: FedEx's residual is zero; FlexLoRA has the same product in other factors, which part ways in later rounds."""
    on, alone = bench(pooled(digits()), **SGD), PersonalStore()
    play(Local(), serve(Local(), on, store=alone), 1)
    first = own(alone, 0, "adapter")
    for rule in ("fedex", "flexlora"):
        model = algebra.joined(model_of(rule, *played(on, 1, rule)))
        for stem in lora_stems(first):
            torch.testing.assert_close(dense(model, stem), dense(first, stem), atol=1e-6, rtol=0)
    play(Local(), serve(Local(), on, store=(longer := PersonalStore())), 3)
    server, _ = played(on, 3, "fedex")
    assert furthest(server.state.shared, part(own(longer, 0, "adapter"), ALL)) < 1e-5


@pytest.mark.parametrize("rule", ["plora", "fedsa", "fedex"])
def test_equal_clients_that_move_together_are_fedavg(rule: str) -> None:
    """R8: everybody's own factor is the same and stays so."""
    positions = np.tile(digits().clients.train_rows.positions[:20], 3)
    index = replace(digits().clients, train_rows=Rows(positions, np.arange(0, 80, 20)),
                    val_rows=Rows.empty(3), test_rows=Rows.empty(3))  # fmt: skip
    on = bench(replace(digits(), clients=index), **SGD | {"batch_size": 1000, "epochs": 2})
    average = play(FedAvg(), serve(FedAvg(), on), 3).state.adapter
    model = model_of(rule, *played(on, 3, rule))
    assert furthest(of_slot(model, None), average) < 1e-6


@pytest.mark.parametrize("rule", RULES)
def test_clients_in_a_stack_are_clients_one_by_one_and_over_the_wire(rule: str) -> None:
    settings = {"ranks": (1, 3, 2)} if RULES[rule].any_rank else {}
    on = bench(digits(), MIXED, **SGD)
    (one, kept), (two, alone), (three, wired) = (
        played(on, 2, rule, **options, **settings)
        for options in ({}, {"stack": 1}, {"wire": True})  # type: ignore[arg-type]
    )
    assert list(one.state) == list(two.state) == list(three.state)
    for name in one.state:
        ours = (
            {site: dense(one.state.merged, site) for site in lora_stems(one.state.merged)} if name == "merged" else {}
        )
        assert all(torch.allclose(dense(two.state.merged, site), update, atol=1e-6) for site, update in ours.items())
        assert name == "merged" or furthest(one.state.get(name), two.state.get(name)) < 1e-5
        assert same(one.state.get(name), three.state.get(name))
    for client in kept.clients():
        assert furthest(own(kept, client), own(alone, client)) < 1e-5
        assert same(own(kept, client), own(wired, client))
    assert one.ledger.summary() == two.ledger.summary() == three.ledger.summary()


@pytest.mark.parametrize("rule", RULES)
def test_stopping_after_a_round_changes_nothing(rule: str) -> None:
    on = bench(digits(), **SGD)
    whole, kept = played(on, 3, rule)
    half, store = played(on, 1, rule)
    method = fedvlm(rule)
    server = serve(method, on, store=store)
    server.state.load(half.state.dump())
    for t in (1, 2):
        server.round = t
        method.round(server, t)
    assert server.state.hash() == whole.state.hash()
    assert store.hash() == kept.hash()


# -- what is personal stays -------------------------------------------------------------------------


class Spy:
    """A federation that remembers the names of all tensors that pass, in both directions."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.up, self.down = inner, set[str](), set[str]()

    def deliver(self, task: str, to: Any, round_: int, payload: Any) -> list[Replies]:
        parts: list[Replies] = self.inner.deliver(task, to, round_, payload)
        for told, fields in ((self.down, payload), *((self.up, reply.fields) for reply in parts)):
            for name, field in fields.items():
                told |= {f"{name}/{key}" for key in names(field)} if isinstance(field, TensorDict) else {name}
        return parts


@pytest.mark.parametrize(("rule", "shared", "personal"), [("plora", "B", "A"), ("fedsa", "A", "B")])
@pytest.mark.parametrize("finetune", [0, 2])
def test_the_personal_factor_is_in_no_message_and_in_no_checkpoint(
    rule: str, shared: str, personal: str, finetune: int
) -> None:
    """R5."""
    on, method = bench(digits(), BOTH, rounds=2), fedvlm(rule, finetune=finetune)
    server = serve(method, on)
    server._federation = spy = Spy(server._federation)
    play(method, server, 2)
    evaluate(method, server, True, None)
    assert any(name.endswith(f"/{shared}") for name in spy.up & spy.down)
    kept = decode(server.state.dump())["shared"]
    assert isinstance(kept, TensorDict)
    for seen in (spy.up, spy.down, names(kept)):
        assert not [name for name in seen if name.endswith(f"/{personal}")]


class Leaky(FedVLM):
    """Sends what it should keep."""

    @task
    def train(self, cohort: Cohort, **_: Any) -> Replies:
        fitted = cohort.fit(cohort.bench.new_adapter())
        return cohort.reply(shared=select(fitted.stack, "*/A"), examples=cohort.examples, loss=fitted.loss)


def test_a_task_that_sends_the_personal_factor_stops_the_run() -> None:
    method = Leaky(FedVLM.Settings())
    server = serve(method, bench(digits()))
    with pytest.raises(PersonalLeak, match=r"reply field 'shared/.*/A' of client 0 is personal"):
        play(method, server, 1)


@pytest.mark.parametrize("rule", KEEPING)
def test_who_is_absent_keeps_what_it_has_bit_for_bit(rule: str) -> None:
    """F9 and R6; and everybody of a round starts it from the server's own bits."""
    on, store, method = bench(digits(), **SGD), PersonalStore(), fedvlm(rule)
    server = serve(method, on, store=store, participation=0.5)
    method.begin(server)
    seen: set[int] = set()
    for t in range(4):
        before = {client: encode(store.load(client)) for client in range(4)}
        server.round = t
        method.round(server, t)
        for client in range(4):
            assert (encode(store.load(client)) == before[client]) == (client not in server.sampled)
        seen |= set(server.sampled)
    assert store.clients() == sorted(seen)
    if server.state.get("shared") is not None:
        worn = method.personal_model(cohort_of(on, store), method.broadcast(server))
        assert worn is not None
        for name in names(server.state.shared):
            assert all(torch.equal(worn[name][k], server.state.shared[name]) for k in range(4))


def test_first_values_of_the_own_factor() -> None:
    """First participation is explicit: the recipe's seed gives everybody the same A, or each its own."""
    on = bench(digits())
    common, independent = (
        fedvlm(start=start).personal_model(cohort_of(on, PersonalStore()), None) for start in ("common", "independent")
    )
    assert common is not None and independent is not None
    for stem in lora_stems(common):
        assert all(torch.equal(common[f"{stem}/A"][k], on.new_adapter()[f"{stem}/A"]) for k in range(4))
        drawn = independent[f"{stem}/A"]
        assert all(not torch.equal(drawn[i], drawn[k]) for i in range(4) for k in range(i))
        assert not independent[f"{stem}/B"].any()
    again = fedvlm(start="independent").personal_model(cohort_of(on, PersonalStore()), None)
    assert again is not None and same(again, independent)


# -- algebra of the rules ---------------------------------------------------------------------------


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 10_000))
def test_a_shared_factor_is_averaged_without_a_cross_term(count: int, rank: int, seed: int) -> None:
    """R7 and F2: with A_j fixed, the mean B gives the mean of what the B_k give."""
    stack = clients(count, ("w", 7, 5), rank=rank, scale=0.5, seed=seed)
    share = torch.rand(count, generator=generator(seed, "weights")) + 0.1
    x = torch.randn(6, 5, generator=generator(seed, "x"))
    for letter in "AB":
        now = RULES[{"A": "fedsa", "B": "plora"}[letter]].merge(
            select(stack, f"*/{letter}"), share, Global(select(stack[0], f"*/{letter}")), TensorDict({}, [])
        )
        for j in range(count):
            forward = [out(stack[j], letter, stack[k][f"{STEM}/{letter}"], x) for k in range(count)]
            expected = sum(w * y for w, y in zip(share / share.sum(), forward, strict=True))
            torch.testing.assert_close(out(stack[j], letter, now.shared[f"{STEM}/{letter}"], x), expected,
                                       atol=1e-5, rtol=1e-5)  # fmt: skip


def out(one: TensorDict, letter: str, factor: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    worn = {name: tensor.unsqueeze(0) for name, tensor in {**leaves(one), f"{STEM}/{letter}": factor}.items()}
    (pair,) = lora_factors(worn)["w"][None]
    return low_rank(x, pair)


def merge(rule: str, stack: TensorDict, weights: torch.Tensor, was: TensorDict) -> Global:
    """What the server holds after a first round from ``was``, in which ``stack`` came back."""
    sends, scales = RULES[rule].sends, {"scale"}
    before = Global(part(was, RULES[rule].returned))
    return RULES[rule].merge(part(stack, sends | scales), weights, before, part(was, scales))


def update(now: Global) -> torch.Tensor:
    """``W + s B A`` of the site, without the base."""
    total = torch.zeros(7, 5)
    if now.shared.keys():
        total = total + 0.5 * now.shared[f"{STEM}/B"] @ now.shared[f"{STEM}/A"]
    return total if now.merged is None else total + dense(now.merged, STEM)


@given(st.integers(2, 5), st.integers(1, 3), st.integers(0, 10_000))
def test_which_rules_merge_exactly(count: int, rank: int, seed: int) -> None:
    """F3 and F5: FedEx and FLoRA are the mean of products, FlexLoRA its best approximation; FedAvg misses it."""
    stack = clients(count, ("w", 7, 5), rank=rank, scale=0.5, seed=seed)
    weights = torch.rand(count, generator=generator(seed, "weights")) + 0.1
    exact = sum(w * dense(stack[k], STEM) for k, w in enumerate(weights / weights.sum()))
    error = {rule: float((update(merge(rule, stack, weights, stack[0])) - exact).norm())
             for rule in ("fedavg", "fedex", "flora", "flexlora")}  # fmt: skip
    assert error["fedex"] < 1e-4
    assert error["flora"] < 1e-4
    assert error["fedavg"] > 1e-2
    rest = torch.linalg.svdvals(exact.double())[rank:]
    assert error["flexlora"] == pytest.approx(float(rest.norm()), abs=1e-4)
    assert error["flexlora"] <= error["fedavg"] + 1e-4


@pytest.mark.parametrize("rule", [name for name, rule in RULES.items() if rule.sends])
def test_the_order_of_clients_does_not_matter(rule: str) -> None:
    """F8."""
    stack, weights = clients(4, ("w", 7, 5), rank=2, scale=0.5), torch.tensor([1.0, 2.0, 3.0, 4.0])
    order = torch.tensor([2, 0, 3, 1])
    one, two = (merge(rule, *sent, stack[0]) for sent in ((stack, weights), (stack[order], weights[order])))
    assert furthest(one.shared, two.shared) < 1e-5 if one.shared.keys() else one.merged is not None
    if one.merged is not None and two.merged is not None:
        torch.testing.assert_close(dense(one.merged, STEM), dense(two.merged, STEM), atol=1e-5, rtol=1e-5)


def test_uniform_weights_count_everybody_alike() -> None:
    on = bench(digits(), **SGD)
    store, method = PersonalStore(), fedvlm(weights="uniform", deliver="own")
    server = play(method, serve(method, on, store=store), 1)
    last = stack_of([own(store, client, "last") for client in range(4)])
    for name in names(last):
        torch.testing.assert_close(server.state.shared[name], last[name].mean(0), atol=1e-7, rtol=0)
    weighted, _ = played(on, 1)
    assert furthest(server.state.shared, weighted.state.shared) > 1e-5
