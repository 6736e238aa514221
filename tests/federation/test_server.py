from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from rooms import bench, digits, serve, shared_out
from synoptic.core import SynopticError
from synoptic.federation.cohort import Cohort, PersonalLeak, task
from synoptic.federation.message import Each, Replies
from synoptic.federation.server import RoundFailed, Server
from synoptic.methods.base import Method


class Reports(Method):
    @task
    def report(self, cohort: Cohort, adapter: TensorDict, note: str = "", own: object = None) -> Replies:
        return cohort.reply(adapter=adapter.unsqueeze(0).expand(len(cohort)).clone(), examples=cohort.examples)


def cohorts(participation: float, seed: int = 0, rounds: int = 6) -> list[list[int]]:
    server = serve(Reports(), bench(shared_out(digits(), [3] * 20), seed=seed), participation=participation)
    drawn = []
    for t in range(rounds):
        server.round = t
        drawn.append(server.sampled)
    return drawn


def test_cohorts_are_a_function_of_seed_and_round() -> None:
    assert cohorts(0.25) == cohorts(0.25)
    assert cohorts(0.25) != cohorts(0.25, seed=1)
    drawn = cohorts(0.25)
    assert all(cohort == sorted(set(cohort)) and len(cohort) == 5 for cohort in drawn)
    assert len({tuple(cohort) for cohort in drawn}) == len(drawn)


def test_a_cohort_does_not_depend_on_what_was_drawn_before() -> None:
    server = serve(Reports(), bench(shared_out(digits(), [3] * 20)), participation=0.25)
    backwards = []
    for t in reversed(range(6)):
        server.round = t
        _ = server.sampled
        backwards.append(server.sampled)
    assert backwards[::-1] == cohorts(0.25)


@pytest.mark.parametrize(("participation", "size"), [(1.0, 20), (0.5, 10), (0.01, 1), (7, 7), (500, 20)])
def test_participation_is_a_share_or_a_number(participation: float, size: int) -> None:
    assert len(cohorts(participation, rounds=1)[0]) == size


def test_everybody_is_drawn_sometimes() -> None:
    assert set().union(*cohorts(0.25, rounds=40)) == set(range(20))


def test_only_the_cohort_is_asked() -> None:
    server = serve(Reports(), bench(shared_out(digits(), [3] * 20)), participation=4)
    replies = server.ask("report", adapter=TensorDict({"w": torch.zeros(2)}, []))
    assert replies.clients == server.sampled


def test_the_ledger_counts_both_directions() -> None:
    server = serve(Reports(), bench(digits()), stack=3)
    adapter = TensorDict({"w": torch.zeros(5), "v": torch.zeros(2, dtype=torch.float64)}, [])
    server.ask("report", adapter=adapter, note="abc", own=Each(["x", "yy", "zzz", ""]))
    assert server.ledger.summary()["by_kind"] == {
        "report.adapter": {"up": 4 * 36, "down": 4 * 36},
        "report.examples": {"up": 4 * 4, "down": 0},
        "report.note": {"up": 0, "down": 4 * 3},
        "report.own": {"up": 0, "down": 6},
    }


def test_a_refused_reply_was_sent_all_the_same() -> None:
    class Nan(Method):
        @task
        def report(self, cohort: Cohort, adapter: TensorDict) -> Replies:
            return cohort.reply(z=torch.tensor([float("nan") if c == 1 else 0.0 for c in cohort.clients]))

    server = serve(Nan(), bench(digits()))
    assert len(server.ask("report", adapter=TensorDict({"w": torch.zeros(5)}, []))) == 3
    assert server.ledger.total("up") == 4 * 4


@pytest.mark.parametrize("to", [[0, 4], [-1], [1, 1]])
def test_clients_that_do_not_exist_or_come_twice_are_one_sentence(to: list[int]) -> None:
    with pytest.raises(SynopticError, match="cannot be asked: there are 4"):
        serve(Reports(), bench(digits())).ask("report", to=to, adapter=TensorDict({"w": torch.zeros(5)}, []))


def test_evaluation_messages_are_counted_apart() -> None:
    method = Method()
    server = serve(method, bench(digits()))
    server.ask("evaluate", splits="local")
    assert (server.ledger.total("up"), server.ledger.total("down")) == (0, 0)
    assert server.ledger.summary()["evaluation"]["down"] == 4 * len("local")
    assert server.ledger.summary()["evaluation"]["up"] > 0


class Failing(Method):
    """Clients of whom some raise, say nonsense, or leak."""

    def __init__(self, raising: tuple[int, ...] = (), odd: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.raising, self.odd = raising, odd

    @task
    def tell(self, cohort: Cohort) -> Replies:
        if set(cohort.clients) & set(self.raising):
            raise OSError("the disk is full")
        values = [float("nan") if client in self.odd else float(client) for client in cohort.clients]
        return cohort.reply(value=torch.tensor(values))

    @task
    def leak(self, cohort: Cohort) -> Replies:
        cohort.personal["own"] = torch.arange(2.0).expand(len(cohort), 2).clone()
        return cohort.reply(own=cohort.personal.get("own", torch.zeros(2)))


def in_groups(server: Server, *groups: list[int]) -> list[list[int]]:
    with server.as_one():
        return [server.ask("tell", to=group).clients for group in groups]


@pytest.mark.parametrize("how", ["raising", "odd"])
def test_asks_that_count_as_one_need_enough_replies_together(how: str) -> None:
    """A group that fails as a whole is no failed round as long as enough of all clients answer."""
    server = serve(Failing(**{how: (3,)}), bench(digits()), min_replies=3)
    assert in_groups(server, [0, 1, 2], [3]) == [[0, 1, 2], []]
    assert [failure.client for failure in server.failures] == [3]
    with pytest.raises(RoundFailed, match=r"round 0 got 2 valid replies of 4 and needs 3 \(client 2, round 0, task"):
        in_groups(serve(Failing(**{how: (2, 3)}), bench(digits()), min_replies=3), [0, 1], [2, 3])
    with pytest.raises(RoundFailed, match="0 valid replies of 1") if how == "odd" else pytest.raises(OSError):
        server.ask("tell", to=[3])


def test_if_nobody_answers_it_is_the_original_exception() -> None:
    with pytest.raises(OSError, match="the disk is full"):
        in_groups(serve(Failing(raising=(0, 1, 2, 3)), bench(digits())), [0, 1], [2, 3])


def test_who_fails_once_is_missing_and_refused_replies_count() -> None:
    server = serve(Failing(), bench(digits()), min_replies=3)

    def asked_twice(odd: set[float]) -> None:
        with server.as_one():
            server.ask("tell", to=[0, 1])
            replies = server.ask("tell", to=[0, 1, 2, 3])
            server.refuse(replies, "tell", lambda client, fields: "odd" if float(fields["value"]) in odd else None)  # type: ignore[arg-type]

    asked_twice({0.0})
    with pytest.raises(RoundFailed, match="2 valid replies of 4 and needs 3"):
        asked_twice({0.0, 3.0})


def test_a_leak_is_no_failure_of_a_group() -> None:
    server = serve(Failing(), bench(digits()))
    with pytest.raises(PersonalLeak), server.as_one():
        server.ask("leak", to=[0])


def test_an_attempt_that_fails_changes_neither_state_nor_log() -> None:
    server = serve(Failing(), bench(digits()))
    server.state.centre, server.log["kept"] = torch.ones(2), 1.0
    with pytest.raises(RoundFailed), server.attempt():
        server.state.centre.zero_()
        server.state.more, server.log["more"] = 1, 2.0
        raise RoundFailed("too few")
    assert server.state.centre.tolist() == [1, 1]
    assert list(server.state) == ["centre"]
    assert server.log == {"kept": 1.0}
    with server.attempt():
        server.state.more = 1
    assert "more" in server.state


class Says(Method):
    """Clients 0 and 1 reply with what is no number."""

    @task
    def tell(self, cohort: Cohort) -> Replies:
        return cohort.reply(value=torch.tensor([float("nan") if c < 2 else float(c) for c in cohort.clients]))


def test_how_many_replies_are_enough_may_be_the_methods_to_say() -> None:
    server = serve(Says(), bench(digits()), min_replies=3)
    with pytest.raises(RoundFailed, match="2 valid replies of 4 and needs 3"):
        server.ask("tell")
    replies = server.ask("tell", fewest=2)
    assert replies.clients == [2, 3]
    with pytest.raises(RoundFailed, match="2 valid replies of 4 and needs 3"):
        server.ask("tell", fewest=3)
    assert server.ask("tell", to=[0, 1], fewest=0).clients == []
    with pytest.raises(RoundFailed, match="0 valid replies of 2 and needs 1"):
        server.ask("tell", to=[0, 1], fewest=1)


def test_and_so_for_what_the_method_refuses() -> None:
    server = serve(Says(), bench(digits()), min_replies=2)
    replies = server.ask("tell")
    with pytest.raises(RoundFailed, match="needs 2"):
        server.refuse(replies, "tell", lambda client, told: "odd" if client == 3 else None)
    assert server.refuse(replies, "tell", lambda client, told: "odd" if client == 3 else None, fewest=1).clients == [2]
