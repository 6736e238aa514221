from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synoptic.core import SynopticError
from synoptic.data import ArrayImages, ExampleTable, Words
from synoptic.data.images import choose

WORDS = Words(("a?", "b?", "c?"), ("one", "two", "three"), ("1", "2", "3"))
TEXTS = st.lists(st.text(max_size=6), min_size=1, max_size=4)


def table(words: Words | None, n: int = 3) -> ExampleTable:
    pixels = np.arange(n * 48, dtype=np.uint8).reshape(n, 4, 4, 3)
    return ExampleTable("toy", ArrayImages(pixels), np.zeros(n, dtype=np.int64), ("any",), words=words)


def test_words_follow_their_pictures() -> None:
    taken = table(WORDS).take(np.array([2, 0, 2]))
    assert taken.words is not None
    assert taken.words.questions == ("c?", "a?", "c?")
    assert taken.words.answers == ("three", "one", "three")
    assert taken.words.rejected == ("3", "1", "3")
    assert taken.asks
    assert not table(None).asks


def test_parts_are_joined_in_order() -> None:
    joined = Words.joined([WORDS.take([0]), WORDS.take([1, 2])])
    assert joined.fingerprint == WORDS.fingerprint
    assert Words.joined([WORDS, Words(("d?",), ("four",))]).rejected is None


@given(TEXTS, TEXTS)
def test_other_words_are_another_table(one: list[str], two: list[str]) -> None:
    first, second = (Words(tuple(texts), tuple(texts)) for texts in (one, two))
    assert (first.fingerprint == second.fingerprint) == (one == two)


def test_what_is_asked_answered_or_rejected_are_told_apart() -> None:
    plain = Words(("a",), ("b",))
    others = [Words(("b",), ("a",)), Words(("a",), ("b",), ("",)), Words(("a",), ("b",), ("c",))]
    assert len({words.fingerprint for words in [plain, *others]}) == 4
    assert table(WORDS).fingerprint != table(None).fingerprint


def test_one_of_each_per_row() -> None:
    with pytest.raises(SynopticError, match="there are 1 questions, 2 answers; give one of each"):
        Words(("a",), ("b", "c"))
    with pytest.raises(SynopticError, match="1 questions, 1 answers and 0 rejected ones"):
        Words(("a",), ("b",), ())
    with pytest.raises(SynopticError, match="toy has 2 images but 3 questions"):
        table(WORDS, 2)


class Counting:
    """Pictures that count how often they are read."""

    def __init__(self, store: ArrayImages) -> None:
        self.store, self.read = store, 0

    def __len__(self) -> int:
        return len(self.store)

    def load(self, positions: np.ndarray) -> np.ndarray:
        self.read += len(positions)
        return self.store.load(positions)

    def signatures(self, positions: np.ndarray) -> list[str]:
        self.read += len(positions)
        return self.store.signatures(positions)

    fingerprint = "counted"


@pytest.mark.parametrize("how", ["content_hashes", "signatures"])
def test_a_picture_that_many_questions_share_is_read_once(how: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    store = Counting(ArrayImages(pixels))
    rows = np.array([2, 0, 0, 2, 2, 1])
    words = Words(("?",) * 6, ("!",) * 6)
    shared = ExampleTable("toy", choose(store, rows), np.zeros(6, dtype=np.int64), ("any",), words=words)
    plain = table(None)
    expected = getattr(ExampleTable("x", ArrayImages(pixels), plain.labels, ("any",)), how)(np.arange(3))
    assert getattr(shared, how)(np.array([5, 0, 1, 3])) == [expected[p] for p in (1, 2, 0, 2)]
    assert store.read == 3
