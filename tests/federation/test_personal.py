from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rooms import bench, digits, same, serve
from synoptic.adapters.stack import names
from synoptic.core import SynopticError
from synoptic.federation.cohort import Cohort, PersonalLeak, task
from synoptic.federation.message import Replies
from synoptic.federation.personal import Personal, PersonalStore


def stack(*values: float) -> TensorDict:
    rows = torch.tensor(values)[:, None] + torch.arange(6.0)
    return TensorDict({"p/w": rows.view(-1, 2, 3), "p/scale": torch.ones(len(values))}, [len(values)])


def start() -> TensorDict:
    return stack(0.0)[0]


class Keeper:
    """Keeps an adapter and replies with whatever ``leak`` makes of it."""

    def __init__(self, leak: Callable[[Cohort], Any] | None = None, personal: tuple[str, ...] = ()) -> None:
        self.leak = leak
        self.personal = personal

    @task
    def train(self, cohort: Cohort) -> Replies:
        old = cohort.personal.adapter("adapter", start())
        cohort.personal["adapter"] = TensorDict({"p/w": old["p/w"] + 1, "p/scale": old["p/scale"]}, [len(cohort)])
        fields = {} if self.leak is None else {"adapter": self.leak(cohort)}
        return cohort.reply(examples=cohort.examples, **fields)


def kept(cohort: Cohort) -> TensorDict:
    return cohort.personal.adapter("adapter", start())


LEAKS: dict[str, Callable[[Cohort], Any]] = {
    "itself": kept,
    "a clone": lambda cohort: kept(cohort).clone(),
    "a tensor": lambda cohort: kept(cohort)["p/w"],
    "a cast clone": lambda cohort: kept(cohort)["p/w"].double(),
    "reshaped": lambda cohort: kept(cohort)["p/w"].reshape(len(cohort), 6).clone(),
    "a slice": lambda cohort: kept(cohort)["p/w"][:, :1],
    "transposed": lambda cohort: kept(cohort)["p/w"].mT,
    "a list": lambda cohort: list(kept(cohort)["p/w"].clone()),
    "in another adapter": lambda cohort: TensorDict({"s": kept(cohort)["p/w"].clone()}, [len(cohort)]),
}


@pytest.mark.parametrize("how", LEAKS)
@pytest.mark.parametrize("size", [1, 4])
def test_personal_tensors_cannot_leave(how: str, size: int) -> None:
    server = serve(Keeper(LEAKS[how]), bench(digits()), stack=size)
    with pytest.raises(PersonalLeak, match=r"of client 0 is personal .* may not leave the client; reply with shared"):
        server.ask("train")


def test_a_name_declared_personal_cannot_leave_whatever_it_holds() -> None:
    def fresh(cohort: Cohort) -> TensorDict:
        return TensorDict({"vision/lora/x/A": torch.randn(len(cohort), 2)}, [len(cohort)])

    method = Keeper(fresh, personal=("vision/*",))
    with pytest.raises(PersonalLeak, match="'adapter/vision/lora/x/A' of client 0 is personal"):
        serve(method, bench(digits())).ask("train")
    assert len(serve(Keeper(fresh, personal=("text/*",)), bench(digits())).ask("train")) == 4


def test_what_is_made_anew_from_it_and_constants_may_leave() -> None:
    def shared(cohort: Cohort) -> TensorDict:
        return TensorDict({"w": kept(cohort)["p/w"] * 2, "scale": kept(cohort)["p/scale"]}, [len(cohort)])

    assert len(serve(Keeper(shared), bench(digits())).ask("train")) == 4


class Trainer:
    """Trains from a broadcast, keeps what came of it, and replies with what ``sent`` makes of that the next time."""

    personal = ()

    def __init__(self, sent: Callable[[Cohort, TensorDict], TensorDict]) -> None:
        self.sent = sent

    @task
    def train(self, cohort: Cohort, adapter: TensorDict) -> Replies:
        reply = cohort.reply(adapter=self.sent(cohort, cohort.fit(adapter).stack))
        if "own" not in cohort.personal:
            cohort.personal["own"] = cohort.fit(adapter).stack
        return reply


def overwritten(cohort: Cohort, stack: TensorDict) -> TensorDict:
    entries = cohort.personal.entries
    if "own" in entries[0]:
        for name in names(stack):
            stack[name].copy_(torch.stack([entry["own"][name] for entry in entries]))
    return stack


@pytest.mark.parametrize("size", [1, 4])
def test_what_is_trained_from_a_broadcast_may_equal_what_is_kept_but_not_be_written_from_it(size: int) -> None:
    for sent, leaves in ((lambda cohort, stack: stack, False), (overwritten, True)):
        server = serve(Trainer(sent), bench(digits()), stack=size)
        adapter = server.bench.new_adapter()
        server.ask("train", adapter=adapter)
        if leaves:
            with pytest.raises(PersonalLeak, match="of client 0 is personal"):
                server.ask("train", adapter=adapter)
        else:
            assert len(server.ask("train", adapter=adapter)) == 4


@pytest.mark.parametrize("size", [1, 3, 99])
def test_state_survives_rounds_and_restarts(tmp_path: Path, size: int) -> None:
    store = PersonalStore(tmp_path)
    server = serve(Keeper(), bench(digits()), stack=size, store=store)
    for t in range(3):
        server.round = t
        server.ask("train", to=[1, 3] if t else [1])
        store.commit(t + 1)
    again = PersonalStore(tmp_path)
    again.versions = dict(store.versions)
    assert again.clients() == [1, 3]
    assert again.hash() == store.hash()
    entry = again.load(1)["adapter"]
    assert isinstance(entry, TensorDict)
    assert same(entry, stack(3.0)[0])
    assert len(list(tmp_path.glob("*.safetensors"))) == 5


def test_only_asked_clients_have_any(tmp_path: Path) -> None:
    store = PersonalStore(tmp_path)
    serve(Keeper(), bench(digits()), store=store).ask("train", to=[2])
    assert store.clients() == [2]
    assert store.load(0) == {}


def test_clean_keeps_what_checkpoints_name(tmp_path: Path) -> None:
    store = PersonalStore(tmp_path)
    for version in (1, 2, 3):
        store.store(0, {"adapter": start()})
        store.commit(version)
    store.clean([{0: 2}, {0: 3}])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "0000000-r00002.safetensors",
        "0000000-r00003.safetensors",
    ]


def test_a_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    store = PersonalStore(tmp_path)
    store.store(4, {"adapter": start()})
    store.commit(1)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(SynopticError, match=r"the personal state of client 4 in .* is missing or damaged; resume from"):
        store.load(4)


def test_a_failed_task_commits_nothing() -> None:
    class Fails(Keeper):
        @task
        def train(self, cohort: Cohort) -> Replies:
            super().train(cohort)
            raise ValueError("after staging")

    store = PersonalStore()
    with pytest.raises(ValueError, match="after staging"):
        serve(Fails(), bench(digits()), store=store).ask("train")
    assert store.clients() == []


def test_clients_without_state_get_the_default_beside_those_who_have() -> None:
    store = PersonalStore()
    store.store(1, {"adapter": stack(5.0)[0], "seen": torch.tensor([7.0])})
    view = Personal(store, [0, 1])
    assert same(view.adapter("adapter", start()), stack(0.0, 5.0))
    assert torch.equal(view.get("seen", torch.zeros(1)), torch.tensor([[0.0], [7.0]]))
    assert "adapter" not in view
    with pytest.raises(SynopticError, match="has 3 rows for 2 clients"):
        view["adapter"] = stack(1.0, 2.0, 3.0)


@pytest.mark.parametrize("kept", ["in memory", "in files"])
def test_undo_goes_back_to_the_last_commit(tmp_path: Path, kept: str) -> None:
    store = PersonalStore(tmp_path if kept == "in files" else None)
    server = serve(Keeper(), bench(digits()), store=store)
    server.ask("train", to=[0, 1])
    store.commit(1)
    committed = store.hash()
    server.ask("train", to=[1, 2])
    assert store.clients() == [0, 1, 2]
    store.undo()
    assert store.clients() == [0, 1]
    assert store.hash() == committed


def test_a_part_of_the_clients_has_the_same_state() -> None:
    store = PersonalStore()
    whole = Personal(store, [4, 1, 7])
    part = whole.part([2, 0])
    part["adapter"] = stack(7.0, 4.0)
    both = whole.adapter("adapter", start())
    for place, value in ((0, 4.0), (1, 0.0), (2, 7.0)):
        assert same(both[place], stack(value)[0])
    assert whole.leak(2, part.adapter("adapter", start())["p/w"][0].clone()) == "adapter/p/w"
    whole.commit()
    assert store.clients() == [4, 7], "who was not in the part keeps nothing"
