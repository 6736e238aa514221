from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rooms import BOTH, bench, digits, final, furthest, same, serve
from synoptic.adapters.stack import names
from synoptic.core import SynopticError
from synoptic.federation.cohort import Cohort, task
from synoptic.federation.local import LocalFederation
from synoptic.federation.message import Each, Replies
from synoptic.federation.personal import PersonalStore
from synoptic.federation.server import RoundFailed
from synoptic.methods.fedavg import FedAvg


class Sick(FedAvg):
    """Some clients cannot train."""

    def __init__(self, sick: set[int]) -> None:
        super().__init__()
        self.sick = sick

    @task
    def train(self, cohort: Cohort, adapter: TensorDict) -> Replies:
        if self.sick & set(cohort.clients):
            raise ValueError("the disk is full")
        return super().train(cohort, adapter)


@pytest.mark.parametrize("stack", [1, 2, 4])
def test_one_failing_client_in_a_stack_costs_nobody_else(stack: int) -> None:
    on = bench(digits())
    server = serve(Sick({2}), on, stack=stack)
    replies = server.ask("train", adapter=on.new_adapter())
    alone = serve(FedAvg(), on, stack=1).ask("train", to=[0, 1, 3], adapter=on.new_adapter())
    assert replies.clients == [0, 1, 3]
    assert furthest(replies.adapter, alone.adapter) < 1e-5
    (failure,) = server.failures
    assert str(failure) == "client 2, round 0, task 'train': the disk is full"


def test_all_failing_is_the_original_exception_with_a_note() -> None:
    on = bench(digits())
    server = serve(Sick({0, 1, 2, 3}), on)
    server.round = 5
    with pytest.raises(ValueError, match="the disk is full") as caught:
        server.ask("train", adapter=on.new_adapter())
    assert caught.value.__notes__ == ["while train ran at client 0 in round 5"]
    assert any(entry.name == "train" for entry in caught.traceback)


def test_too_few_replies_fail_the_round_and_leave_the_state_unchanged() -> None:
    on = bench(digits())
    method = Sick({0, 1, 3})
    server = serve(method, on, min_replies=2)
    method.begin(server)
    before = server.state.hash()
    with pytest.raises(
        RoundFailed, match=r"round 0 got 1 valid replies of 4 and needs 2 \(client 0, round 0, task"
    ) as caught:
        method.round(server, 0)
    assert "\n" not in str(caught.value)
    assert server.state.hash() == before
    assert serve(method, on, min_replies=1).ask("train", adapter=on.new_adapter()).clients == [2]


class Slow:
    @task
    def train(self, cohort: Cohort) -> Replies:
        time.sleep(0.06)
        return cohort.reply(examples=cohort.examples)


def test_a_deadline_leaves_later_clients_out() -> None:
    server = serve(Slow(), bench(digits()), stack=1, deadline=0.09, min_replies=1)
    replies = server.ask("train")
    assert 0 in replies.clients
    assert 3 not in replies.clients
    assert {failure.client for failure in server.failures} == set(range(4)) - set(replies.clients)
    assert server.failures[0].reason == "no reply within the deadline of 0.09 s"


def test_nobody_in_time_is_a_failed_round() -> None:
    with pytest.raises(RoundFailed, match="no reply within the deadline"):
        serve(Slow(), bench(digits()), deadline=0.01).ask("train")


def test_the_wire_changes_nothing() -> None:
    on = bench(digits(), BOTH)
    assert same(final(FedAvg(), on), final(FedAvg(), on, wire=True))
    assert same(final(FedAvg(), on, stack=1), final(FedAvg(), on, stack=1, wire=True))


@pytest.mark.parametrize("wire", [False, True])
@pytest.mark.parametrize("stack", [1, 3, 4])
def test_each_client_gets_its_own_value(wire: bool, stack: int) -> None:
    class Echo:
        @task
        def back(self, cohort: Cohort, number: Any, words: Any) -> Replies:
            own = torch.stack([torch.as_tensor(value) for value in number])
            assert len(words) == len(cohort)
            return cohort.reply(got=own, me=torch.tensor(cohort.clients))

    server = serve(Echo(), bench(digits()), stack=stack, wire=wire)
    replies = server.ask(
        "back", to=[3, 0, 2], number=Each(torch.tensor([30.0, 0.0, 20.0])), words=Each(["c", "a", "b"])
    )
    assert replies.me.tolist() == [0, 2, 3]
    assert replies.got.tolist() == [0.0, 20.0, 30.0]


@pytest.mark.parametrize("wire", [False, True])
@pytest.mark.parametrize("stack", [1, 2, 4])
def test_tensors_of_a_clients_own_length_come_back(wire: bool, stack: int) -> None:
    class Embeds:
        @task
        def embed(self, cohort: Cohort) -> Replies:
            return cohort.reply(z=[torch.full((client // 2 + 1, 2), float(client)) for client in cohort.clients])

    replies = serve(Embeds(), bench(digits()), stack=stack, wire=wire).ask("embed")
    assert [tuple(z.shape) for z in replies.z] == [(1, 2), (1, 2), (2, 2), (2, 2)]
    assert [float(z[0, 0]) for z in replies.z] == [0, 1, 2, 3]


def test_the_payload_is_not_copied_for_each_client() -> None:
    """Memory follows the cohort: every stack sees the server's own tensors, expanded, not repeated."""
    seen: list[TensorDict] = []

    class Looks:
        @task
        def look(self, cohort: Cohort, adapter: TensorDict) -> Replies:
            seen.append(adapter)
            return cohort.reply(examples=cohort.examples)

    on = bench(digits())
    adapter = on.new_adapter()
    serve(Looks(), on, stack=2).ask("look", adapter=adapter)
    assert len(seen) == 2
    assert all(one is adapter for one in seen)


def test_no_more_clients_are_trained_at_once_than_the_stack() -> None:
    sizes: list[int] = []

    class Counts:
        @task
        def count(self, cohort: Cohort) -> Replies:
            sizes.append(len(cohort))
            return cohort.reply(examples=cohort.examples)

    serve(Counts(), bench(digits()), stack=3).ask("count")
    assert sizes == [3, 1]


def test_progress_is_told() -> None:
    told: list[tuple[str, int, int]] = []
    on = bench(digits())
    federation = LocalFederation(FedAvg(), on, PersonalStore(), 3)
    federation.on_progress = lambda task, done, total: told.append((task, done, total))
    federation.deliver("train", [0, 1, 2, 3], 0, {"adapter": on.new_adapter()})
    assert told == [("train", 3, 4), ("train", 4, 4)]


def test_only_tasks_can_be_asked() -> None:
    for name in ("begin", "round", "settings", "nothing"):
        with pytest.raises(SynopticError, match=rf"FedAvg has no task '{name}'; mark the function with @task\."):
            serve(FedAvg(), bench(digits())).ask(name)


def test_a_reply_needs_one_row_for_each_client() -> None:
    class Short:
        @task
        def train(self, cohort: Cohort) -> Replies:
            return cohort.reply(examples=torch.ones(len(cohort) + 1))

    with pytest.raises(SynopticError, match="reply field 'examples' has 2 rows for 1 clients"):
        serve(Short(), bench(digits())).ask("train")


def test_the_broadcast_adapter_is_not_changed_by_training() -> None:
    on = bench(digits())
    adapter = on.new_adapter()
    before = adapter.clone()
    serve(FedAvg(), on).ask("train", adapter=adapter)
    assert names(adapter) == names(before)
    assert same(adapter, before)
