from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synoptic.data import world
from synoptic.data.describing import LONGEST, WAYS, _known, describe, read
from synoptic.data.manners import UNSEEN_MANNERS, say
from synoptic.data.questions import FACTS, VALUES, vocabulary

VALUE = [st.none() | st.sampled_from(VALUES[fact]) for fact in FACTS]
NAMED = st.tuples(*VALUE).filter(any)


@given(st.sampled_from(WAYS), NAMED)
def test_what_is_described_is_read_again(way: str, named: tuple[str | None, ...]) -> None:
    found = read(describe(way, *named))
    told = {(fact, VALUES[FACTS[fact]].index(word)) for fact, word in enumerate(named) if word is not None}
    assert found.named == told
    assert found.malformed == 0
    assert found.hedged == (way == "hedged")
    assert len(told) <= found.words <= LONGEST


@given(st.sampled_from(WAYS), NAMED)
def test_a_tokenizers_text_is_read_as_the_written_one(way: str, named: tuple[str | None, ...]) -> None:
    text = describe(way, *named)
    assert read(" ".join(re.findall(r"\w+|[^\w\s]", text)) + " .") == read(text)


@pytest.mark.parametrize(
    ("way", "text"),
    [("plain", "striped red circle at the top left"), ("sentence", "it is a striped red circle at the top left"),
     ("hedged", "perhaps striped red circle at the top left, i think")],
)  # fmt: skip
def test_ways(way: str, text: str) -> None:
    assert describe(way, "red", "circle", "striped", "top left") == text


def test_some_facts_only() -> None:
    assert describe("sentence", "red", None, None, None) == "it is red"
    assert describe("sentence", None, None, None, "middle") == "it is at the middle"
    assert describe("plain", None, None, None, "top left") == "top left"
    assert describe("sentence", None, "ring", None, "top") == "it is a ring at the top"
    assert describe("hedged", None, None, "plain", "top") == "perhaps plain at the top, i think"


def test_captions_are_of_known_forms_but_for_those_that_name_a_style() -> None:
    scene = world.pretraining_scene(np.random.default_rng(0), 300)
    captions = world.caption(scene, np.random.default_rng(1))
    styled = [bool(re.search(r"^a \w+ (picture|photo) of", text)) for text in captions]
    assert [read(text).malformed > 0 for text in captions] == styled
    assert any(styled)


@pytest.mark.parametrize("text", ["red circle", "it is red", "a photo of a red circle."])
def test_whatever_is_known_may_be_hedged_by_halves(text: str) -> None:
    plain = read(text)
    said = [f"perhaps {text}", f"{text.removesuffix('.')}, i think", f"perhaps {text.removesuffix('.')}, i think"]
    assert [read(some).hedged for some in said] == [0.5, 0.5, 1]
    assert {read(some)._replace(hedged=0.0) for some in said} == {plain}


def test_the_longest_form_is_as_long_as_said() -> None:
    hedges = {"perhaps", "i", "think", ","}
    assert max(sum(word not in hedges for word in form) for form in _known()) == LONGEST


SAID = ("striped", "red", "circle")
OTHER_MANNERS = [say(manner, "describe", SAID) for manner in UNSEEN_MANNERS if manner != "hedged"]


@pytest.mark.parametrize(
    "text",
    ["", ".", "red red red", "yes", "it it is is a red circle", "circle red", "red blue circle", "perhaps", "i think",
     "perhaps perhaps red, i think", "red i think", "red, perhaps", "top left right", "a the of", "it is at the red",
     "red circle at", "it is circle", ", , ,", "Ich sehe rot", "<image>", *OTHER_MANNERS],
)  # fmt: skip
def test_what_is_of_no_form_is_malformed(text: str) -> None:
    assert 0.5 <= read(text).malformed <= 1


def test_repetition_and_unknown_words_make_it_worse() -> None:
    assert read("circle red").malformed < read("red red red").malformed < read("").malformed == 1
    assert read("zig zag").malformed == 1
    assert read("Red Circle.") == read("red circle")
    assert read("top left").named == {(FACTS.index("place"), VALUES["place"].index("top left"))}


def test_all_words_are_in_the_vocabulary_of_the_world() -> None:
    words = {word for form in _known() for word in form if not word.startswith("<")}
    assert words <= set(vocabulary())
