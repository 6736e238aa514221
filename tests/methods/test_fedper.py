from __future__ import annotations

from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rooms import BOTH, HEAD, PROMPT, VISION, bench, digits, final, furthest, play, reference, same, serve
from synoptic.adapters.blocks import owned
from synoptic.adapters.stack import expand, names, size_bytes, without
from synoptic.core import SynopticError
from synoptic.experiment.recipe import load_recipe
from synoptic.federation.bench import Bench
from synoptic.federation.cohort import Cohort, PersonalLeak
from synoptic.federation.message import Replies
from synoptic.federation.personal import Personal, PersonalStore
from synoptic.learning.batches import plan
from synoptic.learning.fit import fit
from synoptic.methods.base import task
from synoptic.methods.fedavg import FedAvg
from synoptic.methods.fedper import OWN, FedPer
from synoptic.methods.fedper_parts import kept
from synoptic.methods.fedvlm import FedVLM
from tasking import task_bench

TWO = {"vision": {"lora": {"rank": 2, "layers": 2}}}
LORA_AND_HEAD = {"vision": {"lora": {"rank": 2, "layers": 1}, "head": True}}
Q = "self_attn.q_proj"


def per(own: Any = "last") -> FedPer:
    return FedPer(FedPer.Settings(own=own))


def played(method: Any, on: Bench, rounds: int = 2, **options: Any) -> tuple[Any, list[TensorDict]]:
    store = PersonalStore()
    server = play(method, serve(method, on, store=store, **options), rounds)
    return server, [store.load(client)[OWN] for client in store.clients()]  # type: ignore[misc]


# -- what is personal ------------------------------------------------------------------------------------------------


def short(found: list[str]) -> set[str]:
    """Names without what all of them have: ``layers.3/A`` of ``.../layers.3.self_attn.q_proj/A``."""
    return {name.split("encoder.")[-1].replace(f".{Q}", "") for name in found if "/lora/" not in name or Q in name}


@pytest.mark.parametrize(
    ("adapter", "own", "expected"),
    [
        (TWO, "last", {"layers.3/A", "layers.3/B", "layers.3/scale"}),
        (LORA_AND_HEAD, "last", {"vision/head/weight"}),
        (VISION, "inputs", {"layers.3/A"}),
        (LORA_AND_HEAD, "outputs", {"layers.3/B", "vision/head/weight"}),
        ({"vision": "lora", "text": "prompt"}, "inputs", {"layers.2/A", "layers.3/A", "text/prompt/context"}),
        (VISION, ("*/B",), {"layers.3/B"}),
        (VISION, (), set()),
    ],
)
def test_names_tell_what_is_personal(adapter: Any, own: Any, expected: set[str]) -> None:
    assert short(kept(bench(digits(), adapter).new_adapter(), own)) == expected


def test_of_two_towers_each_has_a_last_layer() -> None:
    adapter = {tower: {"lora": {"rank": 2, "layers": 2, "targets": ["q"]}} for tower in ("vision", "text")}
    found = kept(bench(digits(), adapter).new_adapter(), "last")
    assert {name.partition("/")[0] for name in found} == {"vision", "text"}
    assert len(found) == 6


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("last", {"head/colours", "head/shapes"}),
        ("task", {"head/colours", "head/shapes", "mome/colours", "mome/shapes", "expert/image.shapes",
                  "expert/text.colours"}),
    ],
)  # fmt: skip
def test_of_several_tasks_heads_or_all_blocks_of_one_task_are_personal(own: str, expected: set[str]) -> None:
    whole = task_bench().new_adapter()
    found = kept(whole, own)
    assert {"/".join(name.split("/")[:2]) for name in found} == expected
    assert set(found) == set(names(owned(whole, expected))), "whole blocks"


@pytest.mark.parametrize(("own", "sides"), [("inputs", {"down", "query", "key", "value", "A"}),
                                            ("outputs", {"up", "out", "B"})])  # fmt: skip
def test_every_low_rank_block_has_two_sides(own: str, sides: set[str]) -> None:
    found = kept(task_bench().new_adapter(), own)
    assert {name.rpartition("/")[2] for name in found if not name.startswith("head/")} == sides


@pytest.mark.parametrize(
    ("adapter", "own", "sentence"),
    [
        (PROMPT, "last", "method.own=last finds nothing of its kind in this adapter"),
        (VISION, "task", "finds nothing of its kind in this adapter; set data=tasks"),
        (VISION, "last", "with method.own=last all of the adapter is personal, and nothing is shared"),
        (HEAD, ("*/head/*",), r"with method.own=\[\*/head/\*\] all of the adapter is personal"),
        (VISION, ("head/*",), r"'head/\*' matches no tensor of the adapter"),
    ],
)
def test_what_leaves_nothing_to_keep_or_to_share_is_refused(adapter: Any, own: Any, sentence: str) -> None:
    method = per(own)
    with pytest.raises(SynopticError, match=sentence):
        method.begin(serve(method, bench(digits(), adapter)))


# -- the method ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on", [bench(digits(), BOTH, lr=0.01), task_bench()], ids=["digits", "tasks"])
def test_with_nothing_personal_it_is_fedavg_bit_for_bit(on: Bench) -> None:
    method = per(())
    server = play(method, serve(method, on), 2)
    assert same(server.state.adapter, final(FedAvg(), on))
    assert method.has_shared
    assert not per().has_shared


@pytest.mark.parametrize(("own", "rule"), [("inputs", "plora"), ("outputs", "fedsa")])
def test_one_side_personal_is_the_rule_of_fedvlm_bit_for_bit(own: str, rule: str) -> None:
    on = bench(digits(), lr=0.01)
    theirs, store = FedVLM(FedVLM.Settings(rule=rule)), PersonalStore()
    other = play(theirs, serve(theirs, on, store=store), 3)
    server, mine = played(per(own), on, 3)
    shared = [name for name in names(server.state.adapter) if not name.endswith("/scale")]
    assert same(server.state.adapter.select(*shared), other.state.shared)
    assert all(same(one, store.load(client)["own"]) for client, one in enumerate(mine))  # type: ignore[arg-type]


def test_two_rounds_are_the_equation() -> None:
    """Everybody trains (w, v_k) together; w is averaged, v_k stays: with dense weights, as an ordinary program."""
    on = bench(digits(), TWO, optimizer="sgd", lr=0.05)
    w, n = on.new_adapter(), [len(on.data.clients.train(k)) for k in range(4)]
    mine = [dict(w.items()) for _ in range(4)]
    for t in range(2):
        for k in range(4):
            batches = plan(on.data.clients.train(k), on.train, 0, t, k)
            mine[k] = reference(on.data).train(TensorDict(mine[k], []), batches, lambda p: torch.optim.SGD(p, 0.05))
        for name in (name for name in mine[0] if ".layers.2." in name):
            middle = sum(n[k] / sum(n) * mine[k][name] for k in range(4))
            mine = [{**one, name: middle} for one in mine]
    server, kept_ = played(per(), on)
    for k in range(4):
        both = TensorDict({**dict(server.state.adapter.items()), **dict(kept_[k].items())}, [])
        assert furthest(both, TensorDict(mine[k], [])) < 2e-5
    assert furthest(kept_[0], kept_[1]) > 1e-4


@pytest.mark.parametrize("own", ["last", "inputs", "task"])
def test_two_rounds_over_tasks_are_the_equation(own: str) -> None:
    """As above, for three clients of whom each has its own blocks, over which these are averaged."""
    on = task_bench()
    whole = on.new_adapter()
    personal = set(kept(whole, own))
    mine, shared = [on.new_adapter([k]) for k in range(3)], without(whole, personal)
    for t in range(2):
        for k in range(3):
            both = TensorDict({name: (mine[k] if name in personal else shared)[name] for name in names(mine[k])}, [])
            steps = plan(on.data.clients.train(k), on.train, 0, t, k)
            mine[k] = fit(expand(both, 1), [steps], on.problem.loss(), on.train, on.train.lr).stack[0]
        after = {name: averaged(on, mine, name) for name in names(shared)}
        shared = TensorDict(after, [])
    server, ours = played(per(own), on)
    assert furthest(server.state.adapter, shared) < 1e-5
    for k in range(3):
        assert furthest(ours[k], mine[k].select(*(name for name in names(mine[k]) if name in personal))) < 1e-5


def averaged(on: Bench, mine: list[TensorDict], name: str) -> torch.Tensor:
    """Weighted by the examples that went through the tensor's block: eight of each task of a client."""
    tasking, block = on.tasking, "/".join(name.split("/")[:2])
    assert tasking is not None
    weight = {k: sum(block in tasking.model.path(one) for one in kind)
              for kind, (k,) in on.data.kinds(range(3)).items()}  # fmt: skip
    return sum(many / sum(weight.values()) * mine[k][name] for k, many in weight.items() if many)  # type: ignore[return-value]


def test_only_what_is_shared_travels() -> None:
    on = task_bench()
    server, mine = played(per(), on, 1)
    shared = [size_bytes(on.owned(server.state.adapter, [k])) for k in range(3)]
    heads = [size_bytes(one) for one in mine]
    assert [one + other for one, other in zip(shared, heads, strict=True)] == [
        size_bytes(on.new_adapter([k])) for k in range(3)
    ]
    assert server.ledger.total("down") == sum(shared)
    assert server.ledger.total("up") == sum(shared) + 3 * 8 + 4 * 4


def test_absent_clients_keep_their_part_bit_for_bit() -> None:
    on, store, method = bench(digits(), TWO, lr=0.01), PersonalStore(), per()
    server = play(method, serve(method, on, store=store), 1)
    before = [store.load(k)[OWN] for k in range(4)]
    server.round = 1
    server._spec = server._spec.model_copy(update={"participation": 2})
    method.round(server, 1)
    moved = [k for k in range(4) if not same(before[k], store.load(k)[OWN])]  # type: ignore[arg-type]
    assert moved == server.sampled


def test_what_is_personal_cannot_leave() -> None:
    class Leaking(FedPer):
        @task
        def train(self, cohort: Cohort, adapter: TensorDict) -> Replies:
            return cohort.reply(adapter=cohort.fit(self._whole(cohort, adapter)).stack, examples=cohort.examples)

    for on in (bench(digits(), LORA_AND_HEAD, lr=0.01), task_bench()):
        with pytest.raises(PersonalLeak, match="personal"):
            play(Leaking(), serve(Leaking(), on), 1)


def test_a_newcomer_trains_what_is_personal() -> None:
    on = bench(digits(), TWO, lr=0.01)
    method = per()
    server = play(method, serve(method, on), 1)
    start, patterns = method.newcomer(Cohort([0], on, Personal(PersonalStore(), [0]), 1), method.broadcast(server))  # type: ignore[misc]
    assert short(patterns) == {"layers.3/A", "layers.3/B"}
    assert same(start[0].select(*names(server.state.adapter)), server.state.adapter)


def test_stacked_is_one_by_one() -> None:
    on = task_bench(groups=2)
    (one, own), (many, owned_) = (played(per(), on, stack=stack) for stack in (1, 99))
    assert furthest(one.state.adapter, many.state.adapter) < 1e-5
    assert max(furthest(*pair) for pair in zip(own, owned_, strict=True)) < 1e-4


def test_patterns_come_from_recipes() -> None:
    assert load_recipe("fedper", ["method.own=[head/*]"]).method.settings.own == ("head/*",)
    assert load_recipe("fedper", ["method.own=[]"]).method.settings.own == ()
    with pytest.raises(SynopticError, match=r"method\.own"):
        load_recipe("fedper", ["method.own=heads"])
