from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from synoptic.learning.spec import TrainSpec

rounds = st.integers(1, 60)


@given(rounds, st.floats(1e-5, 1.0))
def test_a_constant_rate_stays(count: int, lr: float) -> None:
    assert {TrainSpec(lr=lr).rate(t, count) for t in range(count)} == {lr}


@given(rounds, st.sampled_from(["linear", "cosine"]), st.integers(0, 10))
def test_after_warm_up_rates_fall_from_the_peak_and_stay_above_zero(count: int, schedule: Any, warmup: int) -> None:
    spec = TrainSpec(lr=0.1, schedule=schedule, warmup=warmup)
    rates = [spec.rate(t, count) for t in range(count)]
    rising, falling = rates[:warmup], rates[warmup:]
    assert all(rate > 0 for rate in rates)
    assert rising == sorted(set(rising))
    assert all(rate < 0.1 for rate in rising)
    assert falling == sorted(falling, reverse=True)
    if falling:
        assert falling[0] == pytest.approx(0.1)


def test_known_points_of_each_schedule() -> None:
    assert TrainSpec(lr=1.0, schedule="linear").rate(5, 10) == pytest.approx(0.5)
    assert TrainSpec(lr=1.0, schedule="cosine").rate(5, 10) == pytest.approx(0.5)
    assert TrainSpec(lr=1.0, schedule="cosine").rate(10, 10) == pytest.approx(0.0)
    assert [TrainSpec(lr=1.0, warmup=3).rate(t, 10) for t in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1.0])


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"steps": 0}, {"lr": 0}, {"momentum": 1.0}, {"clip_norm": 0}, {"optimiser": "sgd"}]
)
def test_senseless_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        TrainSpec(**wrong)
