from __future__ import annotations

from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rooms import HEAD, bench, digits, furthest, play, same, serve
from synoptic.adapters.algebra import mean
from synoptic.adapters.stack import expand, names, size_bytes, stack_of
from synoptic.core import SynopticError
from synoptic.data.federated import FederatedData, build
from synoptic.data.spec import DataSpec
from synoptic.experiment.recipe import load_recipe
from synoptic.federation.bench import Bench
from synoptic.federation.cohort import Cohort, task
from synoptic.federation.message import Replies
from synoptic.federation.personal import Personal, PersonalStore
from synoptic.federation.server import RoundFailed
from synoptic.methods.adaptive import Adaptive
from synoptic.methods.probing import Half, fit_halves
from synoptic.methods.sharing import Decision

SITES, RANK, CLIENTS = 3, 2, 4
EVERYTHING, NOTHING = {"both": 0.0}, {"both": 99.0, "side": 99.0}


def adaptive(**settings: Any) -> Adaptive:
    return Adaptive(Adaptive.Settings(**({"probe": 1, "directions": 8, "deliver": "global"} | settings)))


def played(method: Adaptive, on: Bench, rounds: int, **options: Any) -> tuple[Any, PersonalStore]:
    store = PersonalStore()
    return play(method, serve(method, on, store=store, **options), rounds), store


def own(store: PersonalStore, client: int) -> TensorDict:
    kept = store.load(client)["own"]
    assert isinstance(kept, TensorDict)
    return kept


@pytest.fixture(autouse=True)
def believing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of a few steps on a few digits are no evidence, and here need none."""
    monkeypatch.setattr("synoptic.methods.sharing.SURE", -1e9)


def together(on: Bench, store: PersonalStore) -> list[TensorDict]:
    """One round of local training from each client's own model."""
    cohort = Cohort(range(CLIENTS), on, Personal(store, range(CLIENTS)), 1)
    fitted = cohort.fit(stack_of([own(store, k) for k in range(CLIENTS)]))
    return [fitted.stack[k] for k in range(CLIENTS)]


def test_a_group_that_agrees_on_everything_is_averaged_as_by_fedavg() -> None:
    on = bench(digits(), optimizer="sgd", lr=0.05)
    method = adaptive(**EVERYTHING)
    server, store = played(method, on, 1)
    assert server.state.group.tolist() == [0] * CLIENTS
    assert server.state.share.all()
    trained = together(on, store)
    server.round = 1
    method.round(server, 1)
    merged = mean(stack_of(trained), torch.tensor([float(len(on.data.clients.train(k))) for k in range(CLIENTS)]))
    shared = TensorDict({name: server.state.shared[name][0] for name in names(server.state.shared)}, [])
    assert furthest(shared, merged) < 1e-6
    cohort = Cohort(range(CLIENTS), on, Personal(store, range(CLIENTS)), 1)
    models = method.personal_model(cohort, method.broadcast(server))
    assert models is not None
    assert all(furthest(models[k], merged) < 1e-6 for k in range(CLIENTS))
    server.round = 2
    method.round(server, 2)
    second = Cohort(range(CLIENTS), on, Personal(PersonalStore(), range(CLIENTS)), 2).fit(expand(merged, CLIENTS))
    assert all(furthest(own(store, k), second.stack[k]) < 1e-5 for k in range(CLIENTS)), "they start from the mean"


def test_clients_who_agree_on_nothing_go_on_alone() -> None:
    on = bench(digits(), optimizer="sgd", lr=0.05)
    method = adaptive(**NOTHING)
    server, store = played(method, on, 1)
    assert server.state.group.tolist() == [-1] * CLIENTS
    trained = together(on, store)
    server.round = 1
    method.round(server, 1)
    assert all(furthest(own(store, k), trained[k]) < 1e-6 for k in range(CLIENTS))
    assert "train.shared" not in server.ledger.summary()["by_kind"]


def test_only_the_shared_factor_of_a_site_travels() -> None:
    on = bench(digits(), lr=0.01)
    method = adaptive(**EVERYTHING)
    server, store = played(method, on, 1)
    share = torch.tensor([[True, False], [False, True], [False, False]])
    server.state.share, server.state.held = share[None], share[None]
    server.round = 1
    replies = method._train(server, 0, [0, 1, 2, 3])
    kinds = [(name.split(".")[-1].split("/")[0], name[-1]) for name in names(replies.shared)]
    assert kinds == [("k_proj", "A"), ("q_proj", "B")]
    cohort = Cohort([2], on, Personal(store, [2]), 1)
    models = method.personal_model(cohort, method.broadcast(server))
    assert models is not None
    model = models[0]
    for name in names(model):
        source = server.state.shared[name][0] if name in names(replies.shared) else own(store, 2)[name]
        assert torch.equal(model[name], source), name


def test_the_ledger_is_the_formula() -> None:
    on = bench(digits())
    server, _ = played(adaptive(probe=2, **EVERYTHING), on, 5)
    kinds = server.ledger.summary()["by_kind"]
    adapter = size_bytes(on.new_adapter()) - 4 * SITES
    assert kinds["probe.summary"]["up"] == 2 * CLIENTS * 2 * SITES * 3 * 8 * RANK * 4
    assert kinds["probe.spell"]["down"] + kinds["probe.step"]["down"] == 2 * CLIENTS * 16
    assert kinds["train.shared"] == {"up": 3 * CLIENTS * adapter, "down": 2 * CLIENTS * adapter}
    assert kinds["train.share"]["down"] == 3 * CLIENTS * 2 * SITES
    assert kinds["train.examples"]["up"] + kinds["train.loss"]["up"] == 3 * CLIENTS * 8


def test_halves_are_disjoint_cover_everything_and_cost_one_round() -> None:
    on = bench(digits())
    cohort = Cohort([0, 3], on, Personal(PersonalStore(), [0, 3]), 0)
    one, two = (Half(cohort, half, [0, 0]).positions for half in (0, 1))
    for place in range(2):
        assert not set(one[place]) & set(two[place])
        assert sorted([*one[place], *two[place]]) == cohort.positions[place].tolist()
    assert Half(cohort, 0, [1, 1]).positions[0].tolist() != one[0].tolist(), "another probe, other halves"
    fit_halves(cohort, [on.new_adapter()] * 2, [0, 0])
    assert cohort.work["examples"] == sum(map(len, cohort.positions))


def test_absent_clients_keep_everything_and_newcomers_are_looked_at_first() -> None:
    on = bench(digits(), lr=0.01)
    method, store = adaptive(**EVERYTHING), PersonalStore()
    server = serve(method, on, store=store, participation=2)
    method.begin(server)
    seen: set[int] = set()
    for t in range(5):
        server.round = t
        before = {k: own(store, k).clone() for k in store.clients()}
        method.round(server, t)
        assert all(same(before[k], own(store, k)) for k in before if k not in server.sampled)
        seen |= set(server.sampled)
        assert (server.state.probes > 0).nonzero()[:, 0].tolist() == sorted(seen)


def test_looking_again_decides_again_and_keeps_the_models() -> None:
    on = bench(digits(), lr=0.01)
    method = adaptive(again=2, **EVERYTHING)
    server, store = played(method, on, 2)
    before, shared = [own(store, k).clone() for k in range(CLIENTS)], server.state.shared.clone()
    server.round = 2
    method.round(server, 2)
    assert server.state.probes.tolist() == [2] * CLIENTS
    assert all(same(before[k], own(store, k)) for k in range(CLIENTS))
    assert same(server.state.shared, shared), "the group inherits what its members shared"
    assert server.state.held.all()


@pytest.mark.parametrize(("again", "participation"), [(2, 1.0), (0, 2)])
def test_after_a_decision_to_share_nothing_one_may_decide_again(again: int, participation: float) -> None:
    method = adaptive(again=again, **NOTHING)
    server, store = played(method, bench(digits(), lr=0.01), 5, participation=participation)
    assert server.state.group.tolist() == [-1] * CLIENTS
    assert len(server.state.share) == 0
    assert store.clients() == (server.state.probes > 0).nonzero()[:, 0].tolist()
    method.settings = adaptive(**EVERYTHING).settings
    method._decide(server)
    assert len(server.state.share) == 1
    assert not server.state.held.any(), "what nobody has sent yet cannot be handed out"


def test_a_client_counts_with_its_old_summary_until_it_has_been_looked_at_long_enough() -> None:
    method = adaptive(probe=2, again=3, **NOTHING)
    server, _ = played(method, bench(digits(), lr=0.01), 3)
    old = server.state.summary
    for t, same_as_before in ((3, True), (4, False)):
        server.round = t
        method.round(server, t)
        assert torch.equal(server.state.summary, old) == same_as_before


def test_to_look_all_the_time_is_refused() -> None:
    with pytest.raises(SynopticError, match="so nothing is ever shared; raise it"):
        load_recipe("adaptive", ["method.again=2"])


def test_stacked_is_one_by_one() -> None:
    on = bench(digits(), optimizer="sgd", lr=0.05)
    (_, first), (_, second) = (played(adaptive(**EVERYTHING), on, 3, stack=stack) for stack in (1, 4))
    assert max(furthest(own(first, k), own(second, k)) for k in range(CLIENTS)) < 1e-5


def in_two_groups(monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[Adaptive, Any]:
    """After the probe clients 0 and 1 share everything, and so do 2 and 3; then the task fails at some."""
    halves = Decision([[0, 1], [2, 3]], torch.ones(2, SITES, 2, dtype=torch.bool))
    monkeypatch.setattr("synoptic.methods.adaptive.decide", lambda *_: halves)
    method = adaptive()
    server, _ = played(method, bench(digits(), lr=0.01), 2, **options)
    server.round = 2
    return method, server


def failing_at(monkeypatch: pytest.MonkeyPatch, *clients: int) -> None:
    original = Adaptive.train

    @task
    def train(method: Adaptive, cohort: Cohort, **sent: Any) -> Replies:
        if set(cohort.clients) & set(clients):
            raise OSError("the disk is full")
        replies: Replies = original(method, cohort, **sent)
        return replies

    monkeypatch.setattr(Adaptive, "train", train)


def test_a_group_of_which_nobody_answers_stays_as_it_is_if_enough_answer_in_the_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method, server = in_two_groups(monkeypatch)
    before = server.state.shared.clone()
    failing_at(monkeypatch, 2, 3)
    method.round(server, 2)
    rows = {name: server.state.shared[name] for name in names(before) if not name.endswith("/scale")}
    assert all(torch.equal(rows[name][1], before[name][1]) for name in rows)
    assert not any(torch.equal(rows[name][0], before[name][0]) for name in rows)
    assert [failure.client for failure in server.failures] == [2, 3]


def test_one_client_of_a_small_group_may_be_missing_if_enough_answer_in_the_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method, server = in_two_groups(monkeypatch, min_replies=3)
    failing_at(monkeypatch, 3)
    method.round(server, 2)
    failing_at(monkeypatch, 0)
    with pytest.raises(RoundFailed, match="2 valid replies of 4 and needs 3"):
        method.round(server, 2)


def test_nobody_answers_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others of the round train on; who was to be looked at is looked at later."""
    method, server = in_two_groups(monkeypatch)
    server.state.probes = torch.tensor([1, 1, 1, 0])

    @task
    def probe(method: Adaptive, cohort: Cohort, **sent: Any) -> Replies:
        raise OSError("the disk is full")

    monkeypatch.setattr(Adaptive, "probe", probe)
    method.round(server, 2)
    assert server.state.probes.tolist() == [1, 1, 1, 0]
    assert [failure.task for failure in server.failures] == ["probe"]


def held_out() -> FederatedData:
    return build(DataSpec(source="digits", clients=CLIENTS, train_limit=90, test_limit=40, validation=0.3), 0)


def test_at_the_end_everybody_chooses_and_the_log_says_what() -> None:
    on = bench(held_out(), lr=0.02, rounds=3)
    server, store = played(adaptive(deliver="validate", **EVERYTHING), on, 3)
    shares = [server.log[f"delivered/{name}"] for name in ("global", "between", "own")]
    assert sum(shares) == pytest.approx(1)
    choices = [int(store.load(k)["choice"]) for k in range(CLIENTS)]  # type: ignore[arg-type]
    assert shares == [choices.count(number) / CLIENTS for number in range(3)]


def test_without_lora_there_is_nothing_to_decide() -> None:
    with pytest.raises(SynopticError, match="has none"):
        play(adaptive(), serve(adaptive(), bench(digits(), HEAD)), 1)
