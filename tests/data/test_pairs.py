from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synoptic.data.describing import WAYS, read
from synoptic.data.pairs import FALSE, answers, candidates, preferences, preferred, rivals
from synoptic.data.question_spec import TastesSpec
from synoptic.data.questions import FACTS, VALUES
from synoptic.data.tastes import Taste, features, judged

ANGLES = st.sampled_from([0.0, 45.0, 90.0, 135.0, 180.0])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def pictures(n: int = 200) -> np.ndarray:
    draw = rng(7)
    return np.stack([draw.integers(0, len(VALUES[fact]), n) for fact in FACTS], axis=1)


def worth(taste: Taste, facts: np.ndarray, texts: list[str]) -> np.ndarray:
    found = [features(row, text) for row, text in zip(facts.tolist(), texts, strict=True)]
    return judged([taste], np.array(found))[0]


def test_answers_are_true_and_of_all_forms() -> None:
    facts = pictures(2000)
    found = [read(text) for text in answers(facts, rng())]
    assert all(facts[row][fact] == value for row, some in enumerate(found) for fact, value in some.named)
    assert max(some.malformed for some in found) == 0
    counts = np.bincount([len(some.named) for some in found]) / len(found)
    assert np.allclose(counts[1:], 1 / 4, atol=0.04)
    assert np.mean([some.hedged for some in found]) == pytest.approx(1 / len(WAYS), abs=0.04)


def test_false_answers_have_one_wrong_fact() -> None:
    facts = pictures(2000)
    wrong = [sum(facts[row][fact] != value for fact, value in read(text).named)
             for row, text in enumerate(answers(facts, rng(), FALSE))]  # fmt: skip
    assert set(wrong) == {0, 1}
    assert np.mean(wrong) == pytest.approx(FALSE, abs=0.04)


def test_broken_answers_are_as_many_as_asked_for_and_belong_to_no_form() -> None:
    facts = pictures(2000)
    both = (candidates(facts, share, rng()) for share in (0.0, 0.5))
    plain, some = (np.array([read(text).malformed > 0 for text in texts]) for texts in both)
    assert not plain.any()
    # A single word in another order is the same word, and an odd word may fit by chance.
    assert 0.35 < some.mean() < 0.5


@given(ANGLES, st.integers(0, 2**32))
def test_rivals_differ_and_are_never_worth_the_same(angle: float, seed: int) -> None:
    facts = pictures(40)
    one, two, more = rivals(facts, Taste(angle), rng(seed))
    assert all(a != b for a, b in zip(one, two, strict=True))
    assert np.abs(more).min() > 0
    assert np.allclose(more, worth(Taste(angle), facts, one) - worth(Taste(angle), facts, two))


@given(ANGLES, st.integers(0, 2**32))
def test_without_noise_and_temperature_pairs_are_in_the_order_of_utility(angle: float, seed: int) -> None:
    facts, taste = pictures(40), Taste(angle)
    cold = [TastesSpec(noise=0, temperature=temperature) for temperature in (0, 1e-9)]
    for spec in (None, *cold):
        better, worse = preferences(facts, taste, spec, rng(seed), rng(seed + 1))
        assert (worth(taste, facts, better) > worth(taste, facts, worse)).all()


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.5])
def test_noise_turns_its_share_round(noise: float) -> None:
    more = rng().normal(size=4000)
    first = preferred(more, 0.0, noise, rng(1))
    assert np.mean(first != (more > 0)) == pytest.approx(noise, abs=0.03)


@pytest.mark.parametrize("more", [0.0, 0.2, -0.5])
def test_choices_are_bradley_and_terrys(more: float) -> None:
    first = preferred(np.full(20_000, more), 0.2, 0.0, rng(1))
    assert first.mean() == pytest.approx(1 / (1 + np.exp(-more / 0.2)), abs=0.015)


@pytest.mark.parametrize("change", [{"noise": 0.5}, {"temperature": 5.0}])
def test_how_it_is_chosen_changes_no_answer(change: dict[str, Any]) -> None:
    facts, taste = pictures(), Taste(30)
    one, two = (preferences(facts, taste, spec, rng(3), rng(4)) for spec in (TastesSpec(), TastesSpec(**change)))
    assert [{a, b} for a, b in zip(*one, strict=True)] == [{a, b} for a, b in zip(*two, strict=True)]
    assert one[0] != two[0]


def test_both_sides_of_a_pair_have_all_forms() -> None:
    better, worse = preferences(pictures(1000), Taste(90), TastesSpec(), rng(3), rng(4))
    for texts in (better, worse):
        hedged = np.mean([read(text).hedged for text in texts])
        assert 0.05 < hedged < 0.95
        assert {len(read(text).named) for text in texts} == {1, 2, 3, 4}
