from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from rooms import bench, digits, serve, shared_out
from synoptic.core import SynopticError
from synoptic.federation.cohort import Cohort, task
from synoptic.federation.message import Each, Replies
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
