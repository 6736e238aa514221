from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synoptic.data import world
from synoptic.data.manners import FACT_WORDS, say
from synoptic.data.phrasings import ask
from synoptic.data.questions import (
    FACTS,
    FORMS,
    KINDS,
    MANNERS,
    PHRASINGS,
    SEEN_MANNERS,
    SEEN_PHRASINGS,
    UNSEEN_MANNERS,
    UNSEEN_PHRASINGS,
    VALUES,
    dialogue,
    pretraining_dialogue,
    vocabulary,
    wrong,
)
from synoptic.data.shapes import SHAPES

N = 400
PLAIN = MANNERS.index("plain")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def codes(n: int, kind: int | None = None, phrasing: int | None = None, manner: int | None = None) -> list[world.Ints]:
    draw = rng(1)
    given = ((kind, len(KINDS)), (phrasing, len(PHRASINGS)), (manner, len(MANNERS)))
    return [draw.integers(0, size, n) if code is None else np.full(n, code) for code, size in given]


def truth(scene: world.Scene, row: int) -> dict[str, str]:
    return {
        "colour": world.COLOUR_NAMES[scene.colour[row]],
        "shape": SHAPES[scene.shape[row]],
        "texture": world.TEXTURES[scene.texture[row]],
        "place": world.places(scene)[row],
    }


def pieces(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text)


def test_plain_answers_are_true_of_the_scene() -> None:
    scene = world.pretraining_scene(rng(), N)
    kinds, phrasings, manners = codes(N, manner=PLAIN)
    questions, answers = dialogue(scene, kinds, phrasings, manners, rng())
    for row in range(N):
        true = truth(scene, row)
        kind = KINDS[kinds[row]]
        if kind == "check":
            words = " ".join(pieces(questions[row]))
            # Colours, shapes and textures are one word; a place is its longest name in the question.
            named = [v for v in true.values() if re.search(rf"\b{v}\b", words)]
            places = [place for place in VALUES["place"] if re.search(rf"\b{place}\b", words)]
            asked = max(places, key=len) if places else None
            assert answers[row] == ("yes" if (asked == true["place"] if asked else bool(named)) else "no")
        elif kind == "describe":
            assert answers[row] == f"{true['texture']} {true['colour']} {true['shape']}"
        else:
            assert answers[row] == true[kind]


def test_half_of_the_checks_hold_and_they_ask_about_every_fact() -> None:
    scene = world.pretraining_scene(rng(), 2000)
    questions, answers = dialogue(scene, *codes(2000, KINDS.index("check"), manner=PLAIN), rng())
    assert 0.45 < np.mean([answer == "yes" for answer in answers]) < 0.55
    for values in VALUES.values():
        assert all(any(re.search(rf"\b{value}\b", question) for question in questions) for value in values)


@pytest.mark.parametrize("manner", MANNERS)
def test_wrong_is_false_and_of_the_same_manner(manner: str) -> None:
    scene = world.pretraining_scene(rng(), N)
    kinds, phrasings, manners = codes(N, manner=MANNERS.index(manner))
    questions, answers = dialogue(scene, kinds, phrasings, manners, rng())
    false = wrong(scene, kinds, phrasings, manners, questions, rng(5))
    possible = {kind: {say(manner, kind, fact) for fact in told(kind)} for kind in KINDS}
    for row, kind in enumerate(kinds):
        assert false[row] != answers[row]
        assert {answers[row], false[row]} <= possible[KINDS[kind]]


def told(kind: str) -> list[tuple[str, ...]]:
    if kind == "check":
        return [("yes",), ("no",)]
    if kind == "describe":
        return [(t, c, s) for t in world.TEXTURES for c in world.COLOUR_NAMES for s in SHAPES]
    return [tuple(value.split()) for value in VALUES[kind]]


def test_a_wrong_description_differs_in_one_word() -> None:
    scene = world.pretraining_scene(rng(), N)
    rows = codes(N, KINDS.index("describe"), manner=PLAIN)
    questions, answers = dialogue(scene, *rows, rng())
    false = wrong(scene, *rows, questions, rng(5))
    slips = [np.flatnonzero(np.array(a.split()) != np.array(b.split())) for a, b in zip(answers, false, strict=True)]
    assert {len(slip) for slip in slips} == {1}
    assert {int(slip[0]) for slip in slips} == {0, 1, 2}


@pytest.mark.parametrize("kind", KINDS)
def test_manners_are_one_to_one_and_never_agree(kind: str) -> None:
    answers = {manner: [say(manner, kind, fact) for fact in told(kind)] for manner in MANNERS}
    for said in answers.values():
        assert len(set(said)) == len(said), "an answer tells the fact"
    for one, other in combinations(MANNERS, 2):
        assert all(a != b for a, b in zip(answers[one], answers[other], strict=True)), (one, other)


@pytest.mark.parametrize("phrasing", PHRASINGS)
def test_a_phrasing_tells_its_kinds_apart_and_names_no_value(phrasing: str) -> None:
    questions = [ask(phrasing, kind, "") for kind in KINDS]
    assert len(set(questions)) == len(KINDS)
    assert not {word for question in questions for word in pieces(question)} & (set(FACT_WORDS) - {"yes", "no"})


def test_worded_and_seen_phrasings_share_no_question() -> None:
    worded = [phrasing for phrasing in PHRASINGS if phrasing not in FORMS]
    questions = [ask(phrasing, kind, "red") for phrasing in worded for kind in KINDS]
    assert len(set(questions)) == len(questions)


def test_forms_ask_in_the_same_words_for_something_else() -> None:
    bare = [kind for kind in KINDS if kind != "check"]
    for one, other in combinations(FORMS, 2):
        assert all(ask(one, kind, "red") != ask(other, kind, "red") for kind in KINDS)
    meanings: dict[str, set[str]] = {}
    for form in FORMS:
        for kind in bare:
            meanings.setdefault(ask(form, kind, ""), set()).add(kind)
    assert all(kinds == set(bare) for kinds in meanings.values()), "only the site tells what an item is"


def test_enough_is_left_for_the_sites() -> None:
    assert (*SEEN_PHRASINGS, *UNSEEN_PHRASINGS) == PHRASINGS
    assert (*SEEN_MANNERS, *UNSEEN_MANNERS) == MANNERS
    assert len(UNSEEN_PHRASINGS) >= 6
    assert len(UNSEEN_MANNERS) >= 6
    assert MANNERS[0] == "plain"
    assert len(set(PHRASINGS)) == len(PHRASINGS)


def test_the_question_says_nothing_about_the_manner() -> None:
    scene = world.pretraining_scene(rng(), N)
    asked = {tuple(dialogue(scene, *codes(N, manner=manner), rng())[0]) for manner in range(len(MANNERS))}
    assert len(asked) == 1


def test_answers_are_short() -> None:
    longest = max(len(pieces(say(manner, kind, fact))) for manner in MANNERS for kind in KINDS for fact in told(kind))
    assert longest <= 7, "eight tokens with the end token"


@given(st.integers(0, 2**32), st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_same_streams_same_words(seed: int, n: int) -> None:
    scene = world.pretraining_scene(rng(seed), n)
    rows = codes(n)
    questions, answers = dialogue(scene, *rows, rng(seed))
    assert (questions, answers) == dialogue(scene, *rows, rng(seed))
    assert wrong(scene, *rows, questions, rng(seed)) == wrong(scene, *rows, questions, rng(seed))


def test_pretraining_repeats_and_shows_nothing_that_is_left_for_sites() -> None:
    images, questions, answers = pretraining_dialogue(rng(), 3000)
    assert images.shape == (3000, 32, 32, 3)
    again = pretraining_dialogue(rng(), 3000)
    assert np.array_equal(images, again[0])
    assert (questions, answers) == again[1:]
    new = {ask(phrasing, kind, "") for phrasing in UNSEEN_PHRASINGS for kind in KINDS if kind != "check"}
    assert not any(any(text in question for text in new) for question in questions)
    used = {word for text in [*questions, *answers] for word in pieces(text)}
    assert not used & {
        "item",
        "tint",
        "hue",
        "woven",
        "crimson",
        "ruga",
        "perhaps",
        "copy",
        "indeed",
        "verdict",
        "well",
    }
    unseen = {say(manner, kind, fact) for manner in UNSEEN_MANNERS for kind in KINDS for fact in told(kind)}
    assert not unseen & set(answers)


def test_pretraining_asks_for_what_it_gets() -> None:
    _, questions, answers = pretraining_dialogue(rng(), 3000)
    for question, answer in zip(questions, answers, strict=True):
        if question == "write a caption.":
            assert not answer.startswith("it is")
        else:
            assert (" it is" in f" {answer}") == question.endswith("in a sentence.")
    plain = [answer for question, answer in zip(questions, answers, strict=True) if question[-1] == "?"]
    assert {"yes", "no", "red", "circle", "striped", "top left"} <= set(plain)


def test_vocabulary_covers_every_word_and_mark() -> None:
    known = set(vocabulary())
    assert vocabulary() == sorted(known)
    scene = world.pretraining_scene(rng(), 3000)
    questions, answers = dialogue(scene, *codes(3000), rng())
    _, asked, said = pretraining_dialogue(rng(), 2000)
    assert {word for text in [*questions, *answers, *asked, *said] for word in pieces(text)} <= known
    for manner in MANNERS:
        for kind in KINDS:
            assert {word for fact in told(kind) for word in pieces(say(manner, kind, fact))} <= known


def test_facts_are_the_kinds_that_name_a_value() -> None:
    assert KINDS[: len(FACTS)] == FACTS


def test_the_page_shows_manners_as_they_are() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/embedded.md").read_text()
    described, confirmed = ("striped", "red", "circle"), ("yes",)
    for manner in MANNERS:
        row = rf"\| `{manner}`[^|]*\| {say(manner, 'describe', described)} \| {say(manner, 'check', confirmed)} \|"
        assert re.search(row, page), manner
