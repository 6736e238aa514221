from __future__ import annotations

import pytest

from synoptic.core.errors import SynopticError, nearest


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
