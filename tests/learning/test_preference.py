from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from synoptic.core import SynopticError
from synoptic.learning.objectives.grpo import group_advantages
from synoptic.learning.objectives.preference import (
    Calibration,
    bradley_terry,
    calibration,
    direct_preference,
    normalised,
    pair_accuracy,
)

SCORES = st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=8)
PAIRS = st.lists(st.tuples(st.floats(-50, 50, width=32), st.floats(-50, 50, width=32)), min_size=1, max_size=8)


def both(pairs: list[tuple[float, float]]) -> tuple[torch.Tensor, torch.Tensor]:
    one, two = zip(*pairs, strict=True)
    return torch.tensor(one), torch.tensor(two)


@given(PAIRS, st.floats(0, 1, width=32))
def test_the_loss_is_the_equation(pairs: list[tuple[float, float]], centring: float) -> None:
    found = bradley_terry(*both(pairs), centring)
    for value, (better, worse) in zip(found.tolist(), pairs, strict=True):
        apart = better - worse
        plain = math.log1p(math.exp(-abs(apart))) + max(-apart, 0.0)
        assert value == pytest.approx(plain + centring * (better + worse) ** 2, rel=1e-5, abs=1e-5)


@given(PAIRS, st.floats(-20, 20))
def test_a_constant_moves_only_the_centring(pairs: list[tuple[float, float]], constant: float) -> None:
    better, worse = both(pairs)
    torch.testing.assert_close(bradley_terry(better + constant, worse + constant), bradley_terry(better, worse),
                               rtol=1e-4, atol=1e-4)  # fmt: skip


@given(PAIRS)
def test_a_pair_and_its_mirror(pairs: list[tuple[float, float]]) -> None:
    better, worse = both(pairs)
    torch.testing.assert_close(bradley_terry(better, worse) - bradley_terry(worse, better), worse - better,
                               rtol=1e-4, atol=1e-4)  # fmt: skip
    assert torch.equal(pair_accuracy(better, worse) + pair_accuracy(worse, better), torch.ones(len(pairs)))


@given(PAIRS)
def test_the_gradient_is_the_probability_of_being_wrong(pairs: list[tuple[float, float]]) -> None:
    better, worse = (scores.double().requires_grad_() for scores in both(pairs))
    bradley_terry(better, worse).sum().backward()
    wrong = torch.sigmoid(worse - better).detach()
    assert better.grad is not None and worse.grad is not None
    torch.testing.assert_close(better.grad, -wrong)
    torch.testing.assert_close(worse.grad, wrong)


def test_scores_that_nothing_tells_apart_cost_log_two_and_get_a_half() -> None:
    same = torch.full((3,), 1.5)
    torch.testing.assert_close(bradley_terry(same, same), torch.full((3,), math.log(2)))
    assert pair_accuracy(same, same).tolist() == [0.5] * 3
    assert bradley_terry(torch.tensor([500.0]), torch.tensor([-500.0])).item() == 0.0
    assert bradley_terry(torch.tensor([-500.0]), torch.tensor([500.0])).item() == 1000.0


@given(PAIRS)
def test_a_calibration_is_the_mean_and_deviation_of_both_sides(pairs: list[tuple[float, float]]) -> None:
    found = calibration(*both(pairs))
    scores = [score for pair in pairs for score in pair]
    mean = sum(scores) / len(scores)
    deviation = math.sqrt(sum((score - mean) ** 2 for score in scores) / len(scores))
    assert found.mean.item() == pytest.approx(mean, rel=1e-4, abs=1e-4)
    assert found.deviation.item() == pytest.approx(deviation, rel=1e-4, abs=1e-4)
    right = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs)
    assert found.accuracy.item() == pytest.approx(right / len(pairs))
    assert found.pairs.item() == len(pairs)


@given(SCORES, st.floats(0.1, 10), st.floats(-5, 5))
def test_normalised_scores_do_not_depend_on_a_models_own_scale(raw: list[float], scale: float, shift: float) -> None:
    held = torch.linspace(-2, 3, 10, dtype=torch.float64)
    one = calibration(held[:5], held[5:])
    two = calibration(held[:5] * scale + shift, held[5:] * scale + shift)
    scores = torch.tensor(raw, dtype=torch.float64)
    ours, theirs = normalised(scores, one), normalised(scores * scale + shift, two)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
    assert bool((ours.abs() <= 3).all())
    order = scores.argsort()
    assert bool((ours[order].diff() >= 0).all()), "order stays, whatever the scale"


def test_models_side_by_side_are_models_one_by_one() -> None:
    better, worse, raw = torch.randn(3, 7), torch.randn(3, 7), torch.randn(3, 4, 5)
    found = calibration(better, worse)
    for k in range(3):
        alone = calibration(better[k], worse[k])
        torch.testing.assert_close(found.mean[k], alone.mean)
        torch.testing.assert_close(normalised(raw, found)[k], normalised(raw[k], alone))


@pytest.mark.parametrize("value", [0.0, 0.1, -1234.5])
def test_a_constant_model_is_worth_nothing_and_harms_nobody(value: float) -> None:
    same = torch.full((7,), value)
    found = calibration(same, same)
    assert (found.deviation.item(), found.accuracy.item()) == (0.0, 0.5)
    assert normalised(torch.randn(2, 3) * 100, found).abs().max() == 0
    assert group_advantages(normalised(torch.full((2, 3), value), found)).abs().max() == 0


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_what_is_no_number_is_refused(odd: float) -> None:
    fine, broken = torch.zeros(3), torch.tensor([0.0, odd, 1.0])
    with pytest.raises(SynopticError, match=r"^a reward model gave 1 of 6 scores that are not finite; leave it out"):
        calibration(fine, broken)
    known = Calibration(*(torch.tensor(value) for value in (0.0, 1.0, 1.0, 3.0)))
    with pytest.raises(SynopticError, match="gave 1 of 3 scores that are not finite"):
        normalised(broken, known)


def test_no_pair_calibrates_nothing() -> None:
    with pytest.raises(SynopticError, match=r"cannot be calibrated on no pair; hold at least one pair out"):
        calibration(torch.zeros(0), torch.zeros(0))


FOURS = st.lists(st.tuples(*[st.floats(-50, 0, width=32)] * 4), min_size=1, max_size=8)


def four(given_: list[tuple[float, ...]]) -> list[torch.Tensor]:
    return [torch.tensor(column) for column in zip(*given_, strict=True)]


@given(FOURS, st.floats(0.0625, 2, width=32))
def test_direct_preference_is_the_equation(fours: list[tuple[float, ...]], beta: float) -> None:
    found = direct_preference(*four(fours), beta=beta)
    for value, (better, worse, ref_better, ref_worse) in zip(found.tolist(), fours, strict=True):
        gain = beta * ((better - ref_better) - (worse - ref_worse))
        assert value == pytest.approx(math.log1p(math.exp(-abs(gain))) + max(-gain, 0.0), rel=1e-4, abs=1e-4)


@given(FOURS, st.floats(0.0625, 2, width=32))
def test_a_policy_that_is_its_reference_costs_log_two_and_moves_by_half_of_beta(
    fours: list[tuple[float, ...]], beta: float
) -> None:
    better, worse = (column.double().requires_grad_() for column in four(fours)[:2])
    loss = direct_preference(better, worse, better.detach(), worse.detach(), beta)
    torch.testing.assert_close(loss, torch.full_like(loss, math.log(2)))
    loss.sum().backward()
    assert better.grad is not None and worse.grad is not None
    torch.testing.assert_close(better.grad, torch.full_like(loss, -beta / 2))
    torch.testing.assert_close(worse.grad, torch.full_like(loss, beta / 2))


@given(FOURS)
def test_with_little_beta_only_the_margin_counts(fours: list[tuple[float, ...]]) -> None:
    better, worse, ref_better, ref_worse = (column.double() for column in four(fours))
    beta = 1e-6
    slope = (direct_preference(better, worse, ref_better, ref_worse, beta) - math.log(2)) / beta
    torch.testing.assert_close(slope, -((better - ref_better) - (worse - ref_worse)) / 2, rtol=1e-3, atol=1e-2)


@given(FOURS, st.floats(-20, 20), st.floats(0.0625, 2, width=32))
def test_what_makes_both_answers_likelier_alike_changes_nothing(
    fours: list[tuple[float, ...]], more: float, beta: float
) -> None:
    better, worse, ref_better, ref_worse = (column.double() for column in four(fours))
    plain = direct_preference(better, worse, ref_better, ref_worse, beta)
    torch.testing.assert_close(direct_preference(better + more, worse + more, ref_better, ref_worse, beta), plain)
    torch.testing.assert_close(direct_preference(better, worse, ref_better + more, ref_worse + more, beta), plain)
