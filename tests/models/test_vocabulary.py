from __future__ import annotations

import pytest

from rooms import model
from synoptic.models.vocabulary import _word, generic_words, known_words, nameless


def test_known_words_are_whole_words_of_the_vocabulary() -> None:
    words = known_words(model())
    assert {"red", "circle", "digit"} <= set(words)
    assert words == sorted(set(words))
    for word in words:
        ids = model().tokenizer(f"a {word}")["input_ids"]
        assert len(ids) == 4, f"'{word}' is not one token between start, 'a' and end"


@pytest.mark.parametrize(
    ("token", "word"), [("Ġred", "red"), ("▁cat", "cat"), ("dog</w>", "dog"), ("ing", ""), ("<|end|>", "")]
)
def test_words_are_told_by_the_marks_of_the_common_tokenisers(token: str, word: str) -> None:
    assert _word(token) == word


def test_generic_words_are_drawn_once_for_a_seed() -> None:
    first, again, other = (generic_words(model(), 10, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert len(set(first)) == 10
    assert generic_words(model(), 10**6, 0) == known_words(model())


@pytest.mark.parametrize("template", ["a photo of a {}.", "{}"])
def test_names_of_which_nothing_is_kept(template: str) -> None:
    assert nameless(model(), template, ["red star", "", "   ", "seven"]) == ["", "   "]
