from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synoptic.learning.text_scores import rouge_l, token_f1, words_of

TEXTS = st.lists(st.sampled_from(["red", "circle", "a", "top"]), max_size=6).map(" ".join)


def longest_common(one: list[str], two: list[str]) -> int:
    """By trying all subsequences."""
    tried = (some for size in range(len(one), -1, -1) for some in combinations(one, size))
    return next(len(some) for some in tried if _within(some, two))


def _within(some: tuple[str, ...], words: list[str]) -> bool:
    left = iter(words)
    return all(word in left for word in some)


@given(TEXTS, TEXTS)
def test_rouge_l_is_f1_of_the_longest_common_subsequence(one: str, two: str) -> None:
    a, b = one.split(), two.split()
    expected = 2 * longest_common(a, b) / (len(a) + len(b)) if a + b else 1.0
    assert rouge_l(one, two) == pytest.approx(expected)


@given(TEXTS, TEXTS)
def test_scores_are_shares_symmetric_and_order_only_lowers(one: str, two: str) -> None:
    for score in (token_f1, rouge_l):
        assert 0 <= score(one, two) <= 1
        assert score(one, two) == score(two, one)
    assert rouge_l(one, two) <= token_f1(one, two)
    assert (token_f1(one, two) == 1) == (sorted(one.split()) == sorted(two.split()))
    assert (rouge_l(one, two) == 1) == (one == two)


def test_case_and_marks_do_not_count() -> None:
    assert words_of("It is RED, isn't it?") == ["it", "is", "red", "isn", "t", "it"]
    assert token_f1("Red!", "red") == 1
    assert token_f1("", "red") == 0
