"""FedVLM's settings: bytes of every rule, ranks, what is delivered, fine-tuning, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rooms import BOTH, HEAD, bench, digits, furthest, play, same, serve, world
from runs import small
from synoptic.adapters.algebra import dense, joined, lora_stems
from synoptic.adapters.peft_io import import_peft
from synoptic.adapters.stack import names
from synoptic.core import SynopticError
from synoptic.experiment.evaluate import evaluate
from synoptic.experiment.runner import run
from synoptic.federation.bench import Bench
from synoptic.federation.cohort import Cohort
from synoptic.federation.personal import Personal, PersonalStore
from synoptic.federation.server import Server
from synoptic.learning.batches import plan
from synoptic.learning.fit import fit
from synoptic.methods.fedvlm import FedVLM
from synoptic.methods.fedvlm_rules import ALL, RULES, over, part
from synoptic.methods.fedvlm_start import at_rank, first_adapters, rank_of

SGD: dict[str, Any] = {"optimizer": "sgd", "lr": 0.05, "momentum": 0.5}
FLOAT, WIDTH, JOINT, SITES, ROUNDS = 4, 128, 128, 3, 3
RANK4 = {"vision": {"lora": {"rank": 4, "layers": 1, "alpha": 4}}}
MLP = {"vision": {"lora": {"rank": 2, "layers": 1, "targets": ["fc1"]}}}


def fedvlm(rule: str = "plora", **settings: Any) -> FedVLM:
    return FedVLM(FedVLM.Settings(rule=rule, **settings))


def played(on: Bench, rounds: int, rule: str = "plora", **settings: Any) -> tuple[Server, PersonalStore]:
    store, method = PersonalStore(), fedvlm(rule, **settings)
    return play(method, serve(method, on, store=store), rounds), store


def cohort_of(on: Bench, store: PersonalStore, round_: int = 0) -> Cohort:
    everybody = list(range(len(on.data.clients)))
    return Cohort(everybody, on, Personal(store, everybody), round_)


def personal_of(method: FedVLM, server: Server, store: PersonalStore) -> TensorDict:
    stack = method.personal_model(cohort_of(server.bench, store, server.round), method.broadcast(server))
    assert stack is not None
    return stack


def own(store: PersonalStore, client: int, name: str = "own") -> TensorDict:
    kept = store.load(client)[name]
    assert isinstance(kept, TensorDict)
    return kept


# -- bytes ------------------------------------------------------------------------------------------


def pair(rank: int, letters: str = "AB") -> int:
    """Bytes of these factors of the last block's q, k and v, each 128 x 128."""
    return FLOAT * SITES * rank * WIDTH * len(letters)


def accumulated(ranks: list[int]) -> list[int]:
    """Bytes of what was merged before each round, when a round adds so much rank; a site's scale goes with it."""
    totals = [min(sum(ranks[:t]), WIDTH) for t in range(len(ranks))]
    return [pair(total) + FLOAT * SITES if total else 0 for total in totals]


@pytest.mark.parametrize("clients", [4, 2])
@pytest.mark.parametrize("rank", [2, 4])
def test_bytes_of_every_rule_are_those_of_the_formulas(clients: int, rank: int) -> None:
    """R4 and F6: up and down, for all participants and for some; two numbers more go up."""
    one, both = pair(rank, "A"), pair(rank)
    up = dict.fromkeys(RULES, both) | {"local": 0, "ffa": one, "rolora": one, "fedsa": one, "plora": one}
    down = {rule: [size] * ROUNDS for rule, size in up.items()} | {"rolora": [both] * ROUNDS}
    down["fedex"] = [both + more for more in accumulated([(clients + 1) * rank] * ROUNDS)]
    down["flora"] = accumulated([clients * rank] * ROUNDS)
    on = bench(digits(), {"vision": {"lora": {"rank": rank, "layers": 1}}}, lr=1e-3)
    for rule in RULES:
        method = fedvlm(rule)
        server = play(method, serve(method, on, participation=clients if clients < 4 else 1.0), ROUNDS)
        assert server.ledger.total("up") == ROUNDS * clients * (up[rule] + 2 * FLOAT), rule
        assert server.ledger.total("down") == clients * sum(down[rule]), rule


def test_merged_rank_is_bounded_by_the_layer() -> None:
    on = bench(digits(), RANK4, lr=1e-3)
    server, _ = played(on, 10, "flora")
    stem = lora_stems(server.state.merged)[0]
    assert server.state.merged[f"{stem}/A"].shape == (WIDTH, WIDTH)
    assert server.ledger.total("down") == 4 * sum(accumulated([16] * 10))


def test_bytes_of_layers_that_are_not_square() -> None:
    """A weight of O x D: B alone is O / (O + D) of LoRA, A alone D / (O + D)."""
    on = bench(digits(), MLP)
    width = on.model.model.vision_model.encoder.layers[-1].mlp.fc1.out_features
    up = {rule: played(on, 1, rule)[0].ledger.total("up") - 4 * 2 * FLOAT for rule in ("fedavg", "plora", "fedsa")}
    assert width != WIDTH
    assert up["fedavg"] == 4 * FLOAT * 2 * (width + WIDTH)
    assert up["plora"] * (width + WIDTH) == up["fedavg"] * width
    assert up["fedsa"] * (width + WIDTH) == up["fedavg"] * WIDTH


def test_heads_travel_with_both_factors_and_stay_with_one() -> None:
    on = bench(digits(), {**RANK4, "text": "head"})
    head = FLOAT * JOINT * JOINT
    for rule, size in (("fedavg", pair(4) + head), ("ffa", pair(4, "B") + head), ("plora", pair(4, "B"))):
        server, store = played(on, 1, rule)
        assert server.ledger.total("up") == 4 * (size + 2 * FLOAT)
    assert "text/head/weight" in names(own(store, 0))


# -- ranks ------------------------------------------------------------------------------------------

RANKS = (1, 4, 2)


@pytest.mark.parametrize("rule", ["local", "flora", "flexlora"])
def test_clients_of_different_ranks_send_what_they_have(rule: str) -> None:
    on = bench(digits(), RANK4, **SGD)
    server, store = played(on, 2, rule, ranks=RANKS)
    ranks = [1, 4, 2, 1]
    assert [rank_of(client, RANKS) for client in range(4)] == ranks
    sent = sum(pair(rank) for rank in ranks) if rule != "local" else 0
    assert server.ledger.total("up") == 2 * (sent + 4 * 2 * FLOAT)
    down = {"local": 0, "flora": 4 * (pair(sum(ranks)) + FLOAT * SITES), "flexlora": 2 * sent}
    assert server.ledger.total("down") == down[rule]
    for client in store.clients():
        assert {own(store, client)[f"{stem}/A"].shape[0] for stem in lora_stems(own(store, client))} == {ranks[client]}


def test_a_client_of_lower_rank_trains_as_it_would_alone() -> None:
    """In a stack it is padded; the padding stays zero, and its scale is its own alpha / rank."""
    on = bench(digits(), RANK4, lr=1e-3)
    _, store = played(on, 1, "local", ranks=RANKS)
    for client, rank in ((0, 1), (2, 2)):
        start = at_rank(on.new_adapter(), rank, on.adapter)
        assert {float(start[name]) for name in names(start) if name.endswith("/scale")} == {4 / rank}
        steps = plan(on.data.clients.train(client), on.train, on.seed, 0, client)
        alone = fit(start.unsqueeze(0), [steps], on.problem.loss(), on.train, on.train.lr).stack[0]
        assert furthest(own(store, client), part(alone, ALL)) < 1e-5


def test_a_rank_is_the_first_dimensions_of_the_same_update() -> None:
    one = bench(digits(), RANK4).new_adapter()
    spec = bench(digits(), RANK4).adapter
    for stem in lora_stems(one):
        one[f"{stem}/B"] = torch.randn(WIDTH, 4, generator=torch.Generator().manual_seed(0))
    cut = at_rank(one, 2, spec)
    for stem in lora_stems(one):
        first = one[f"{stem}/scale"] * one[f"{stem}/B"][:, :2] @ one[f"{stem}/A"][:2]
        torch.testing.assert_close(dense(cut, stem), first)
    assert same(at_rank(cut, 2, spec), cut), "what is of that rank already is left alone"
    assert at_rank(one, None, spec) is one


def test_flora_of_different_ranks_is_the_mean_of_products() -> None:
    on, method = bench(digits(), RANK4, **SGD), fedvlm("flora", ranks=RANKS)
    server = serve(method, on)
    method.begin(server)
    replies = server.ask("train")
    method.round(server, 0)
    scales = torch.tensor([4.0, 1.0, 2.0, 4.0])
    p = replies.examples / replies.examples.sum()
    for stem in lora_stems(replies.shared):
        exact = sum(
            p[k] * scales[k] * replies.shared[f"{stem}/B"][k] @ replies.shared[f"{stem}/A"][k] for k in range(4)
        )
        torch.testing.assert_close(dense(server.state.merged, stem), exact, atol=1e-7, rtol=1e-4)


# -- delivery ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "shared"), [("plora", "B"), ("fedsa", "A")])
def test_the_newest_shared_factor_is_delivered_or_the_own_last(rule: str, shared: str) -> None:
    on = bench(digits(), **SGD)
    newest, kept = played(on, 2, rule)
    last, mine = played(on, 2, rule, deliver="own")
    assert same(newest.state.shared, last.state.shared), "what is delivered changes nothing in the rounds"
    one, two = (personal_of(fedvlm(rule, **how), server, store) for how, server, store in
                (({}, newest, kept), ({"deliver": "own"}, last, mine)))  # fmt: skip
    for stem in lora_stems(one):
        for k in range(4):
            assert torch.equal(one[f"{stem}/{shared}"][k], newest.state.shared[f"{stem}/{shared}"])
            assert torch.equal(two[f"{stem}/{shared}"][k], own(mine, k, "last")[f"{stem}/{shared}"])
            assert not torch.equal(two[f"{stem}/{shared}"][k], one[f"{stem}/{shared}"][k])


def test_who_never_took_part_is_delivered_the_newest() -> None:
    on, method = bench(digits(), **SGD), fedvlm(deliver="own")
    store = PersonalStore()
    server = play(method, serve(method, on, store=store, participation=0.25), 1)
    (present,) = server.sampled
    stack = personal_of(method, server, store)
    for name in names(server.state.shared):
        newest = [torch.equal(stack[name][k], server.state.shared[name]) for k in range(4) if k != present]
        assert all(newest)


def given(rule: str, server: Server, store: PersonalStore) -> TensorDict:
    """What clients are given after the last round; FLoRA's with the fresh factors of that round."""
    method = fedvlm(rule)
    if RULES[rule].kept:
        return personal_of(method, server, store)
    stack = method.shared_model(server).unsqueeze(0).expand(4)
    return (
        over(stack, part(first_adapters(server.bench, range(4), None, False, server.round), ALL))
        if RULES[rule].restarts
        else stack
    )


@pytest.mark.parametrize("rule", RULES)
def test_fine_tuning_makes_every_model_personal(rule: str) -> None:
    """It starts from what a client would be given, moves every part, is done once, after the last round."""
    on = bench(digits(), rounds=2, **SGD)
    method, store = fedvlm(rule, finetune=3), PersonalStore()
    server = serve(method, on, store=store)
    method.begin(server)
    for t in range(2):
        server.round = t
        method.round(server, t)
    assert not any("tuned" in store.load(client) for client in range(4))
    method.end(server)
    assert sorted(client for client in range(4) if "tuned" in store.load(client)) == [0, 1, 2, 3]
    assert server.work["steps"] == sum(2 * len(plan(on.data.clients.train(k), on.train, 0, 0, k)) + 3 for k in range(4))
    start = given(rule, server, store)
    steps = [plan(on.data.clients.train(k), on.train.model_copy(update={"steps": 3}), 0, 1, k) for k in range(4)]
    moves = names(part(start, ALL))
    expected = fit(start, steps, on.problem.loss(), on.train, on.train.lr, trainable=moves).stack
    assert furthest(personal_of(method, server, store), expected) < 1e-5
    assert furthest(expected, TensorDict({name: start[name] for name in names(start)}, [4])) > 1e-4


def test_fine_tuning_reaches_who_was_absent() -> None:
    on, method, store = bench(digits(), rounds=1), fedvlm("fedavg", finetune=1), PersonalStore()
    server = play(method, serve(method, on, store=store, participation=0.25), 1)
    assert store.clients() == [0, 1, 2, 3]
    assert server.ledger.summary()["by_kind"]["finetune.shared"] == {"up": 0, "down": 4 * pair(2)}


@pytest.mark.parametrize("rule", ["plora", "fedex", "flora"])
def test_a_run_leaves_personal_adapters_that_plain_peft_loads(rule: str, tmp_path: Path) -> None:
    """Merged updates are part of them: one pair of concatenated rank for each module."""
    changes = [] if rule == "plora" else ["method.finetune=1"]
    result = run(small(tmp_path, "fedvlm", f"method.rule={rule}", "rounds=2", *changes))
    folders = sorted((result.folder / "adapters" / "personal").iterdir())
    assert len(folders) == 3
    assert (result.folder / "adapters" / "shared").exists() == (rule != "plora")
    one = import_peft(folders[0])
    assert any("@merged" in name for name in names(one)) == (rule != "plora")
    assert sorted(lora_stems(joined(one))) == sorted({stem.partition("@")[0] for stem in lora_stems(one)})
    assert {name.split("/")[0] for name in result.metrics} >= {"personal"}


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_learns(rule: str) -> None:
    """The loss on what clients train on falls; rate and rounds were set for the slowest (FFA)."""
    on = bench(world(), rounds=4, lr=5e-3, epochs=3)
    method = fedvlm(rule)
    server = serve(method, on)
    method.begin(server)
    losses = []
    for t in range(4):
        server.round = t
        method.round(server, t)
        losses.append(server.log["loss"])
    assert losses[-1] < 0.95 * losses[0], losses


def test_rules_without_a_shared_model_report_none() -> None:
    on = bench(digits())
    for rule in RULES:
        method = fedvlm(rule)
        metrics = evaluate(method, play(method, serve(method, on), 1), True, None).metrics
        assert {name.partition("/")[0] for name in metrics} == {"personal" if RULES[rule].kept else "shared"}


# -- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["method.rule=fedsaa"], "method.rule"),
        (["method.rule=ffa", "method.start=independent"], "with method.rule=ffa all clients start from one A; leave"),
        (["method.ranks=[2,4]"], "with method.rule=plora all clients have one rank; take method.ranks to local, flora"),
        (["method.rule=fedavg", "method.deliver=own"], "with method.rule=fedavg there is nothing to choose; take"),
        (["method.rule=local", "method.deliver=own"], "with method.rule=local there is nothing to choose"),
        (["method.rule=flora", "method.ranks=[]"], "method.ranks"),
        (["method.finetune=-1"], "method.finetune"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, changes: list[str], message: str) -> None:
    with pytest.raises(SynopticError) as refused:
        small(tmp_path, "fedvlm", *changes)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("rule", "adapter", "settings", "message"),
    [
        ("plora", HEAD, {}, "method.rule=plora is about the factors of LoRA, and the adapter has none; set adapter"),
        ("fedex", HEAD, {}, "method.rule=fedex is about the factors of LoRA"),
        (
            "flora",
            {**RANK4, "text": "head"},
            {},
            "starts every round with fresh LoRA, and the adapter has text/head/wei",
        ),
        ("flora", BOTH, {"ranks": (2, 3)}, "method.ranks=[2, 3] goes beyond the adapter's rank of 2; use ranks from 1"),
        ("local", RANK4, {"ranks": (0,)}, "method.ranks=[0] goes beyond the adapter's rank of 4"),
    ],
)
def test_adapters_that_a_rule_cannot_use(rule: str, adapter: Any, settings: Any, message: str) -> None:
    method = fedvlm(rule, **settings)
    with pytest.raises(SynopticError) as refused:
        method.begin(serve(method, bench(digits(), adapter)))
    assert message in str(refused.value)


def test_over_puts_tensors_in_place() -> None:
    one, two = TensorDict({"a": torch.zeros(2), "b": torch.zeros(2)}, []), TensorDict({"b": torch.ones(2)}, [])
    assert {name: float(tensor[0]) for name, tensor in over(one, two).items()} == {"a": 0.0, "b": 1.0}
