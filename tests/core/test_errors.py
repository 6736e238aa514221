from __future__ import annotations

import pytest

from synoptic.core.errors import SynopticError, listing, nearest


def test_an_error_is_one_sentence_of_what_and_what_to_do() -> None:
    error = SynopticError("the file x is damaged", "restore it")
    assert str(error) == "the file x is damaged; restore it."
    assert (error.what, error.fix) == ("the file x is damaged", "restore it")
    assert str(SynopticError("it is gone")) == "it is gone."


@pytest.mark.parametrize(
    ("word", "hint"),
    [("fedavgg", "did you mean 'fedavg'?"), ("locl", "did you mean 'local'?"), ("xyz", "choose one of: fedavg, local")],
)
def test_a_misspelt_word_gets_its_neighbour_or_the_list(word: str, hint: str) -> None:
    assert nearest(word, ["local", "fedavg"]) == hint


def test_of_many_names_the_first_are_listed() -> None:
    assert listing(["b", "a"]) == "2: a, b"
    assert listing([f"c{k:02d}" for k in range(12)]).startswith("12: c00, c01, ")
    assert listing([f"c{k:02d}" for k in range(12)]).endswith("c09 and 2 more")
