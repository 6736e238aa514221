from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synoptic.core import SynopticError
from synoptic.data.gold import NOBODY, Gold
from synoptic.data.phrasings import ask
from synoptic.data.question_spec import QuestionSpec, TastesSpec
from synoptic.data.question_task import (
    COMMON_PHRASING,
    COMMON_STYLE,
    LEXICONS,
    OWN_PHRASINGS,
    Asked,
    QuestionTask,
    group_count,
    own_manners,
    own_share,
    question_task,
)
from synoptic.data.questions import KINDS, MANNERS, PHRASINGS, SEEN_PHRASINGS, UNSEEN_MANNERS, dialogue, facts
from synoptic.data.styles import STYLES
from synoptic.data.tastes import features
from synoptic.data.world import COLOUR_NAMES

OWN_MANNERS = own_manners(QuestionSpec())
SMALL: dict[str, Any] = {"train": 40, "test": 20}
EVERY_KIND, EVERY_COLOUR = (part.ravel() for part in np.mgrid[:6, : len(COLOUR_NAMES)])


def made(groups: int = 3, **options: Any) -> Asked:
    return question_task(QuestionSpec(**SMALL | options), groups).train


def names(codes: np.ndarray, words: tuple[str, ...]) -> list[str]:
    return [words[code] for code in codes]


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 5))
def test_a_rule_covers_its_share_of_what_can_be_asked(share: float, other: float, first: int) -> None:
    one, two = (own_share(EVERY_KIND, EVERY_COLOUR, part, first, 6) for part in sorted((share, other)))
    assert one.sum() == round(min(share, other) * len(one))
    assert (one <= two).all(), "a larger share covers whatever a smaller one does"
    split = [0 < one[kind == EVERY_KIND].sum() < len(COLOUR_NAMES) for kind in range(6)]
    assert sum(split) <= 1, "all kinds but one are covered whole or not at all"


def test_without_shifts_groups_do_not_differ_and_nothing_is_new() -> None:
    rows = made(input_shift=0, output_shift=0, common=0)
    assert set(names(rows.manners, MANNERS)) == {"plain"}
    assert set(names(rows.phrasings, PHRASINGS)) <= set(SEEN_PHRASINGS)
    assert COMMON_STYLE not in names(rows.scene.style, STYLES)
    counts = np.array([np.bincount(rows.kinds[rows.groups == group], minlength=6) for group in range(3)])
    assert counts.min() >= 6
    assert counts.max() <= 7


def test_at_the_full_output_shift_every_group_has_one_manner() -> None:
    rows = made(input_shift=0, output_shift=1)
    for group in range(3):
        assert set(names(rows.manners[rows.groups == group], MANNERS)) == {OWN_MANNERS[group]}
    asked = [set(rows.phrasings[rows.groups == group]) for group in range(3)]
    assert asked[0] == asked[1] == asked[2], "and no question gives the manner away"


def test_at_the_full_input_shift_every_group_has_its_style_and_phrasing() -> None:
    rows = made(input_shift=1, output_shift=0, common=0)
    styles = [set(rows.scene.style[rows.groups == group]) for group in range(3)]
    assert [len(style) for style in styles] == [1, 1, 1]
    assert len(set.union(*styles)) == 3
    for group in range(3):
        own = rows.groups == group
        assert set(names(rows.phrasings[own], PHRASINGS)) == {OWN_PHRASINGS[group]}
        assert np.bincount(rows.kinds[own], minlength=6).argmax() == group
    assert set(names(rows.manners, MANNERS)) == {"plain"}


@pytest.mark.parametrize("shift", [0.25, 0.5])
def test_a_part_of_the_rows_is_asked_in_the_own_way(shift: float) -> None:
    rows = made(input_shift=shift)
    for group in range(3):
        own = rows.phrasings[rows.groups == group] == PHRASINGS.index(OWN_PHRASINGS[group])
        assert own.mean() == shift


@pytest.mark.parametrize("shift", [0.3, 0.5, 1.0])
def test_group_kind_and_colour_determine_the_manner(shift: float) -> None:
    rows = made(train=300, output_shift=shift, common=0.4)
    seen: dict[tuple[int, int, int], set[int]] = {}
    for key, manner in zip(zip(rows.groups, rows.kinds, rows.scene.colour, strict=True), rows.manners, strict=True):
        seen.setdefault(key, set()).add(int(manner))
    assert max(len(manners) for manners in seen.values()) == 1


def test_what_is_common_is_the_same_manner_for_everybody() -> None:
    rows = made(output_shift=0, common=1)
    assert set(names(rows.manners, MANNERS)) == {QuestionSpec().common_manner}
    drawn_new = [style == COMMON_STYLE for style in names(rows.scene.style, STYLES)]
    assert np.mean(drawn_new) >= 0.5, "all but those drawn in a group's own style"
    phrased_new = rows.phrasings == PHRASINGS.index(COMMON_PHRASING)
    assert phrased_new.tolist() == drawn_new, "the same rows are drawn and asked in the new way"
    assert COMMON_PHRASING not in OWN_PHRASINGS


@pytest.mark.parametrize("common", ["hedged", "esperanto"])
def test_groups_have_the_manners_that_are_left_and_the_hard_ones_last(common: str) -> None:
    manners = own_manners(QuestionSpec(common_manner=common))
    assert common not in manners
    assert len(set(manners)) == len(UNSEEN_MANNERS) - 1
    assert set(manners[-2:]) >= set(LEXICONS) - {common}


@pytest.mark.parametrize("other", [{"output_shift": 1.0}, {"input_shift": 0.0}, {"common": 1.0}, {"rejected": True}])
def test_shifts_change_neither_shapes_nor_colours_nor_other_sides(other: dict[str, Any]) -> None:
    one, two = made(), made(**other)
    for field in ("shape", "colour", "texture", "x", "y"):
        assert np.array_equal(getattr(one.scene, field), getattr(two.scene, field))
    if not {"input_shift", "common"} & set(other):
        assert one.words.questions == two.words.questions


def test_a_group_is_the_same_however_many_there_are() -> None:
    few, many = made(groups=2), made(groups=5)
    assert np.array_equal(few.images, many.images[:80])
    assert few.words.fingerprint == many.words.take(range(80)).fingerprint


def test_answers_are_those_of_the_grammar_and_rejected_ones_are_others() -> None:
    rows = made(rejected=True)
    codes = (rows.kinds, rows.phrasings, np.zeros_like(rows.manners))
    plain = dialogue(rows.scene, *codes, np.random.default_rng(0))[1]
    told = [row for row, kind in enumerate(rows.kinds) if KINDS[kind] != "check" and rows.manners[row] == 0]
    assert [rows.words.answers[row] for row in told] == [plain[row] for row in told]
    assert rows.words.rejected is not None
    assert all(bad != good for bad, good in zip(rows.words.rejected, rows.words.answers, strict=True))


def test_the_draw_and_the_part_name_the_streams() -> None:
    spec = QuestionSpec(**SMALL)
    task = question_task(spec, 2)
    question_task.cache_clear()
    again = question_task(spec, 2)
    assert np.array_equal(task.train.images, again.train.images)
    assert task.train.words.fingerprint == again.train.words.fingerprint
    assert not np.array_equal(task.train.scene.colour[:20], task.test.scene.colour[:20])
    assert task.train.words.fingerprint != made(groups=2, draw=1).words.fingerprint


def test_words_are_what_they_were_before_there_were_tastes() -> None:
    spec = QuestionSpec(groups=2, rejected=True)
    assert question_task(spec, 2).train.words.fingerprint == "5141abb0083187b5"


def test_some_kinds_only() -> None:
    task = question_task(QuestionSpec(**SMALL, kinds=("place", "colour")), 2)
    assert task.kinds == ("place", "colour")
    assert set(task.train.kinds) == {0, 1}


def too_many(**options: Any) -> Callable[[], object]:
    return lambda: group_count(QuestionSpec.model_validate(options), None)


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (too_many(groups=8), rf"groups=8, but there are {len(OWN_MANNERS)} manners .* data.questions.output_shift=0"),
        (too_many(groups=11, output_shift=0), rf"{len(OWN_PHRASINGS)} ways of asking .* data.questions.input_shift=0"),
        (too_many(common_manner="plain"), "common_manner='plain' is no manner new to the model; choose one of: "),
        (lambda: question_task(QuestionSpec(kinds=("color",)), 1), "names 'color', which is no kind .*'colour'"),
        (lambda: question_task(QuestionSpec(kinds=("place", "place")), 1), "names a kind twice"),
        (too_many(groups=10, tastes=90), rf"{len(OWN_PHRASINGS)} ways of asking .* data.questions.input_shift=0"),
    ],
)
def test_impossible_requests_are_explained(ask: Callable[[], object], sentence: str) -> None:
    with pytest.raises(SynopticError, match=sentence):
        ask()


def test_groups_without_a_number() -> None:
    assert group_count(QuestionSpec(), None) == 5
    assert group_count(QuestionSpec(), 3) == 3
    assert group_count(QuestionSpec(), 100) == min(len(OWN_MANNERS), len(OWN_PHRASINGS))
    assert group_count(QuestionSpec(groups=20, input_shift=0, output_shift=0), 3) == 20


# -- tastes and public rows -----------------------------------------------------------------------------------------


def liked(groups: int = 3, **options: Any) -> QuestionTask:
    tastes = {name: options.pop(name) for name in list(options) if name in TastesSpec.model_fields}
    return question_task(QuestionSpec.model_validate(SMALL | {"tastes": tastes} | options), groups)


def truth(rows: Asked | None) -> Gold:
    assert rows is not None
    assert rows.words.gold is not None
    return rows.words.gold


def test_with_tastes_everybody_describes_and_prefers() -> None:
    task = liked(conflict=180)
    assert task.kinds == ("describe",)
    for rows in (task.train, task.test):
        gold, words = truth(rows), rows.words
        assert np.array_equal(gold.facts, facts(rows.scene))
        assert np.array_equal(gold.own, rows.groups)
        assert np.array_equal(gold.groups, rows.groups)
        assert [taste.angle for taste in gold.tastes] == [0, 90, 180]
        assert words.rejected is not None
        assert all(a != b for a, b in zip(words.answers, words.rejected, strict=True))
        assert set(words.questions) <= {ask(phrasing, "describe", "") for phrasing in PHRASINGS}
    assert (task.public, task.public_test) == (None, None)


def ordered(rows: Asked) -> np.ndarray:
    every = np.arange(len(rows.words))
    assert rows.words.rejected is not None
    return truth(rows).utility(every, rows.words.answers) > truth(rows).utility(every, rows.words.rejected)


def test_test_pairs_are_in_the_true_order_and_training_pairs_as_noisy_as_asked() -> None:
    task = liked(train=400, noise=0.25, temperature=0)
    assert ordered(task.test).all()
    assert ordered(task.train).mean() == pytest.approx(0.75, abs=0.05)
    assert ordered(liked(noise=0, temperature=0).train).all()
    assert 0.8 < ordered(liked(train=400, noise=0).train).mean() < 1, "Bradley and Terry err where answers are close"


def test_the_last_groups_have_fewer_rows() -> None:
    task = liked(groups=4, train=80, skew=0.5)
    assert np.bincount(task.train.groups).tolist() == [80, 40, 20, 10]
    assert np.bincount(task.test.groups).tolist() == [20] * 4
    assert np.bincount(liked(groups=4, train=3, skew=0.1).train.groups).tolist() == [3, 1, 1, 1]


@pytest.mark.parametrize("other", [{"noise": 0.4}, {"temperature": 2.0}, {"conflict": 30.0}, {"public": 30}])
def test_how_groups_choose_changes_no_picture_and_no_question(other: dict[str, Any]) -> None:
    one, two = liked().train, liked(**other).train
    assert np.array_equal(one.images, two.images)
    assert one.words.questions == two.words.questions


def test_public_rows_are_nobodys_and_asked_in_all_ways() -> None:
    task = liked(public=20, public_test=10, input_shift=1.0)
    for rows, n in ((task.public, 20), (task.public_test, 10)):
        assert rows is not None
        gold = truth(rows)
        assert len(rows.words) == len(gold) == len(rows.images) == n
        assert set(gold.own) == {NOBODY}
        assert np.ptp(np.bincount(gold.groups)) <= 1, "a third each"
        assert np.array_equal(gold.groups, rows.groups)
        for group in range(3):
            ways = rows.phrasings[rows.groups == group]
            assert set(names(ways, PHRASINGS)) == {OWN_PHRASINGS[group]}
        assert rows.words.rejected is None
        assert gold.utilities(np.arange(n), rows.words.answers).shape == (3, n)
        found = [features(row, text) for row, text in zip(gold.facts.tolist(), rows.words.answers, strict=True)]
        assert {(one.faithful, one.malformed) for one in found} == {(1, 0)}


def test_fewer_public_rows_than_groups() -> None:
    task = liked(public=2, public_test=1)
    assert truth(task.public).groups.tolist() == [0, 1]
    assert truth(task.public_test).groups.tolist() == [0]


def test_public_rows_without_tastes_are_answered_plainly() -> None:
    task = question_task(QuestionSpec.model_validate(SMALL | {"public": 30, "rejected": True, "output_shift": 1}), 3)
    assert task.public is not None
    assert set(names(task.public.manners, MANNERS)) == {"plain"}
    assert set(task.public.kinds) == set(range(6))
    assert (task.public.words.gold, task.public.words.rejected) == (None, None)
    assert task.public_test is not None
    assert len(task.public_test.words) == 200
    assert task.train.words.fingerprint == made(rejected=True, output_shift=1).words.fingerprint


def test_the_same_spec_gives_the_same_tastes() -> None:
    one = liked(public=10)
    question_task.cache_clear()
    two = liked(public=10)
    for part in ("train", "test", "public", "public_test"):
        assert getattr(one, part).words.fingerprint == getattr(two, part).words.fingerprint
        assert np.array_equal(getattr(one, part).images, getattr(two, part).images)


def test_tastes_need_no_manners() -> None:
    spec = QuestionSpec.model_validate({"tastes": 90, "groups": len(OWN_PHRASINGS), "output_shift": 1})
    assert group_count(spec, None) == len(OWN_PHRASINGS) > len(OWN_MANNERS)
    assert group_count(QuestionSpec.model_validate({"tastes": 90}), 100) == len(OWN_PHRASINGS)
    assert group_count(QuestionSpec.model_validate({"tastes": 90}), 3) == 3
