from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synoptic.data.describing import WAYS, describe, read
from synoptic.data.questions import FACTS, VALUES
from synoptic.data.tastes import Taste, features, judged, tastes_apart

TASTES = st.builds(Taste, st.floats(0, 360), st.floats(0.01, 1))
PICTURE = st.tuples(*(st.integers(0, len(VALUES[fact]) - 1) for fact in FACTS))
CHOSEN = st.sets(st.sampled_from(range(len(FACTS))), min_size=1)
RED_CIRCLE = (0, 0, 1, 0)
"""A striped red circle at the top left."""


def utility(taste: Taste, facts: tuple[int, ...], text: str) -> float:
    return float(judged([taste], np.array([features(facts, text)]))[0, 0])


def told(facts: tuple[int, ...], chosen: set[int], way: str) -> str:
    return describe(way, *(VALUES[name][facts[fact]] if fact in chosen else None for fact, name in enumerate(FACTS)))


@given(TASTES, PICTURE, CHOSEN, st.sampled_from(WAYS), st.data())
def test_a_wrong_fact_is_a_loss_to_every_taste(
    taste: Taste, facts: tuple[int, ...], chosen: set[int], way: str, data: st.DataObject
) -> None:
    fact = data.draw(st.sampled_from(sorted(chosen)))
    size = len(VALUES[FACTS[fact]])
    other = (facts[fact] + data.draw(st.integers(1, size - 1))) % size
    false = (*facts[:fact], other, *facts[fact + 1 :])
    assert utility(taste, facts, told(facts, chosen, way)) > utility(taste, facts, told(false, chosen, way)) + 0.2


SCRAPS = st.sampled_from(
    [*range(len(FACTS)), "it", "is", "a", "at", "the", ",", "perhaps", "i", "think", "blue", "zig"]
)


@given(TASTES, PICTURE, st.lists(SCRAPS, min_size=1, max_size=14))
def test_nonsense_never_pays(taste: Taste, facts: tuple[int, ...], scraps: list[int | str]) -> None:
    """Whatever a text says rightly is worth at least as much well said, to every taste."""
    text = " ".join(some if isinstance(some, str) else VALUES[FACTS[some]][facts[some]] for some in scraps)
    right = {fact for fact, value in read(text).named if facts[fact] == value}
    if right and read(text).malformed:
        best = max(utility(taste, facts, told(facts, right, way)) for way in WAYS)
        assert best >= utility(taste, facts, text) - 1e-9


@given(TASTES, PICTURE, CHOSEN, st.sampled_from(WAYS), CHOSEN, st.sampled_from(WAYS))
def test_opposed_tastes_like_true_texts_in_opposite_order(
    taste: Taste, facts: tuple[int, ...], one: set[int], way: str, two: set[int], other_way: str
) -> None:
    opposed = Taste(taste.angle + 180, taste.weight)
    more = [utility(some, facts, told(facts, one, way)) - utility(some, facts, told(facts, two, other_way))
            for some in (taste, opposed)]  # fmt: skip
    assert more[0] == pytest.approx(-more[1], abs=1e-9)


def test_axes() -> None:
    short, long = "red", "it is a striped red circle at the top left"
    careful = "perhaps red, i think"
    full, hedged, concise, plain = (Taste(angle) for angle in (0, 90, 180, 270))
    assert utility(full, RED_CIRCLE, long) > utility(full, RED_CIRCLE, short)
    assert utility(concise, RED_CIRCLE, long) < utility(concise, RED_CIRCLE, short)
    assert utility(hedged, RED_CIRCLE, careful) == pytest.approx(utility(hedged, RED_CIRCLE, short) + 2)
    assert utility(plain, RED_CIRCLE, careful) == pytest.approx(utility(plain, RED_CIRCLE, short) - 2)
    assert utility(full, RED_CIRCLE, careful) == pytest.approx(utility(full, RED_CIRCLE, short))
    assert utility(hedged, RED_CIRCLE, long) == pytest.approx(utility(hedged, RED_CIRCLE, short))


def test_features_of_some_texts() -> None:
    assert features(RED_CIRCLE, "red") == (1, 0.25, 1, 0, 0)
    assert features(RED_CIRCLE, "blue") == (-1, 0, 1, 0, 0)
    assert features(RED_CIRCLE, "blue circle") == (0, 0.25, pytest.approx(8 / 9), 0, 0)
    assert features(RED_CIRCLE, "perhaps striped red circle at the top left, i think")[:2] == (1, 1)
    assert features(RED_CIRCLE, "red circle at the top").faithful == pytest.approx(1 / 3), "it is at the top left"
    assert features(RED_CIRCLE, "") == (0, 0, 1, 0, 1)
    assert utility(Taste(180), RED_CIRCLE, "") < utility(Taste(180), RED_CIRCLE, "blue") < 1


def test_red_red_red_is_bad_to_everybody() -> None:
    for angle in range(0, 360, 15):
        assert utility(Taste(angle), RED_CIRCLE, "red red red") < utility(Taste(angle), RED_CIRCLE, "red") - 0.5


@given(st.floats(0, 180), st.integers(1, 7))
def test_tastes_are_spread_from_the_first_to_the_last(conflict: float, groups: int) -> None:
    tastes = tastes_apart(conflict, 0.5, groups)
    angles = [taste.angle for taste in tastes]
    assert len(angles) == groups
    assert angles[0] == 0
    assert groups == 1 or angles[-1] == pytest.approx(conflict)
    assert np.allclose(np.diff(angles), conflict / max(groups - 1, 1))
    assert {taste.weight for taste in tastes} == {0.5}


def test_without_conflict_all_agree() -> None:
    found = np.random.default_rng(0).uniform(0, 1, (20, 5))
    first, *others = judged(tastes_apart(0, 1.0, 4), found)
    assert all(np.array_equal(first, other) for other in others)
