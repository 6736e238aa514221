from __future__ import annotations

from typing import Any

import pytest

from rooms import BOTH, bench, digits, final, play, same, serve
from synoptic.methods.fedavg import FedAvg
from synoptic.methods.feddtl import FedDTL
from synoptic.methods.stepmatched import StepMatched


@pytest.mark.parametrize("participation", [1.0, 3])
@pytest.mark.parametrize("schedule", [{}, {"warm_up": 1, "second_epochs": 2, "server": {"batch_size": 7, "epochs": 3}}])
def test_it_takes_as_many_steps_as_feddtls_clients_and_server_together(
    schedule: dict[str, Any], participation: float
) -> None:
    on = bench(digits(), BOTH, batch_size=16, epochs=2)
    work = []
    for kind in (FedDTL, StepMatched):
        method = kind(kind.Settings.model_validate(schedule))
        work.append(play(method, serve(method, on, participation=participation), 4).work)
    assert work[0]["server_steps"] > 0
    assert work[1]["steps"] == work[0]["steps"] + work[0]["server_steps"]
    assert not work[1].get("server_steps")


def test_with_as_many_steps_it_is_fedavg_bit_for_bit() -> None:
    """Four clients share four steps of the server: one more each."""
    on = bench(digits(), BOTH, steps=3, lr=0.01)
    matched = StepMatched(StepMatched.Settings.model_validate({"server": {"steps": 4}}))
    longer = bench(digits(), BOTH, steps=4, lr=0.01)
    assert same(final(matched, on), final(FedAvg(), longer))


def test_bytes_are_fedavgs_and_two_numbers() -> None:
    on = bench(digits(), BOTH)
    ours, plain = (play(kind(), serve(kind(), on), 2).ledger for kind in (StepMatched, FedAvg))
    assert ours.total("down") == plain.total("down") + 2 * 4 * 8
    assert ours.total("up") == plain.total("up") + 4 * 4
