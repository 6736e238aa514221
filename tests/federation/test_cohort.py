from __future__ import annotations

from typing import Any

import pytest
import torch

from rooms import BOTH, bench, digits, furthest, same
from synoptic.adapters.stack import expand, stack_of
from synoptic.federation.bench import Bench
from synoptic.federation.cohort import Cohort, PersonalLeak
from synoptic.federation.personal import Personal, PersonalStore


def cohort(on: Bench, clients: list[int], round_: int = 0) -> Cohort:
    return Cohort(clients, on, Personal(PersonalStore(), clients), round_)


def test_it_knows_its_clients_data() -> None:
    on = bench(digits())
    three = cohort(on, [3, 0])
    assert len(three) == 2
    assert [some.tolist() for some in three.positions] == [on.data.clients.train(k).tolist() for k in (3, 0)]
    assert three.examples.tolist() == [len(on.data.clients.train(k)) for k in (3, 0)]


def test_streams_belong_to_seed_round_client_and_purpose() -> None:
    def first(seed: int, round_: int, client: int, purpose: str, clients: list[int]) -> float:
        drawn = torch.rand(1, generator=cohort(bench(digits(), seed=seed), clients, round_).generator(client, purpose))
        return float(drawn)

    base = first(0, 1, 2, "noise", [2])
    assert first(0, 1, 2, "noise", [0, 1, 2, 3]) == base
    others = [first(1, 1, 2, "noise", [2]), first(0, 2, 2, "noise", [2]), first(0, 1, 3, "noise", [3]),
              first(0, 1, 2, "mask", [2])]  # fmt: skip
    assert base not in others


@pytest.mark.parametrize(("round_", "share"), [(0, 1.0), (1, 0.75), (3, 0.25)])
def test_the_rate_follows_the_schedule_over_rounds(round_: int, share: float) -> None:
    """One full-batch SGD step moves by rate x gradient, so the steps stand to each other as the rates do."""
    whole: dict[str, Any] = {"optimizer": "sgd", "lr": 0.1, "batch_size": 1000}
    start = bench(digits()).new_adapter()
    flat = cohort(bench(digits(), **whole), [0], round_).fit(start)
    falling = cohort(bench(digits(), schedule="linear", rounds=4, **whole), [0], round_).fit(start)
    full, part = furthest(flat.stack[0], start), furthest(falling.stack[0], start)
    assert full > 0
    assert part == pytest.approx(share * full, rel=1e-4)


def test_one_start_for_all_is_a_stack_of_equal_starts() -> None:
    on = bench(digits())
    start = on.new_adapter()
    one, many = cohort(on, [0, 1]).fit(start), cohort(on, [0, 1]).fit(expand(start, 2))
    copies = cohort(on, [0, 1]).fit(stack_of([start, start]))
    assert same(one.stack, many.stack)
    assert same(one.stack, copies.stack)


def test_only_what_is_trainable_moves() -> None:
    on = bench(digits(), BOTH)
    start = on.new_adapter()
    fitted = cohort(on, [0]).fit(start, trainable="text/*").stack[0]
    for name in start.keys():  # noqa: SIM118
        if str(name).startswith("vision/"):
            assert torch.equal(fitted[name], start[name])
    assert furthest(fitted, start) > 0


def test_a_part_trains_as_in_the_whole_and_its_work_is_counted_there() -> None:
    on = bench(digits(), optimizer="sgd", lr=0.05)
    whole = cohort(on, [3, 0, 1], 2)
    part = whole.part([2, 0])
    assert (part.clients, part.round) == ([1, 3], 2)
    assert part.examples.tolist() == whole.examples[[2, 0]].tolist()
    fitted = part.fit(on.new_adapter())
    assert whole.work["examples"] == part.examples.sum()
    both = cohort(on, [3, 0, 1], 2).fit(on.new_adapter()).stack
    for place, other in ((0, 2), (1, 0)):
        assert furthest(fitted.stack[place], both[other]) < 1e-5
    assert len(whole.part([])) == 0


def test_a_part_may_send_no_more_than_the_whole() -> None:
    on = bench(digits())
    clients = [0, 1]
    whole = Cohort(clients, on, Personal(PersonalStore(), clients), 0, scope=("vision/*",))
    with pytest.raises(PersonalLeak, match="of client 1 is personal"):
        whole.part([1]).reply(adapter=expand(on.new_adapter(), 1))
