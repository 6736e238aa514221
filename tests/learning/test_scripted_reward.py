from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rewards import ROWS, table
from synoptic.core import SynopticError
from synoptic.learning.objectives.preference import normalised
from synoptic.learning.rewarding import RewardModel, calibrated
from synoptic.learning.scripted_reward import Scripted, load_script


def length(picture: Image.Image, question: str, texts: list[str]) -> list[float]:
    return [float(len(text)) + picture.width / 1000 + len(question) / 100 for text in texts]


def test_a_script_is_a_reward_model_like_any_other() -> None:
    model: RewardModel = Scripted(length, table(), "length")
    words = table().words
    assert words is not None and words.rejected is not None
    found = model.score(ROWS[:2], [["a", "abc"], ["", "ab"]])
    expected = [[len(text) + 0.032 + len(question) / 100 for text in some]
                for question, some in zip(words.questions[:2], (["a", "abc"], ["", "ab"]), strict=True)]  # fmt: skip
    torch.testing.assert_close(found, torch.tensor(expected))
    known = calibrated(model, ROWS, table())
    right = np.mean([(len(a) > len(r)) + 0.5 * (len(a) == len(r))
                     for a, r in zip(words.answers, words.rejected, strict=True)])  # fmt: skip
    assert known.accuracy.item() == pytest.approx(right)
    assert normalised(found, known).abs().max() <= 3
    assert model.score(ROWS[:0], []).shape == (0, 0)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [([1.0], r"^odd on row 3 of asked gave 1 scores for 2 texts; give one for each text\.$"),
     ([1.0, math.nan], r"^odd gave 1 of 2 scores that are not finite"),
     ([1.0, "much"], r"^odd on row 3 of asked failed \(ValueError: .*\); mend the function\.$"),
     (None, r"^odd on row 3 of asked failed \(TypeError: ")],
)  # fmt: skip
def test_what_a_script_may_do_wrong_is_one_sentence(given: Any, sentence: str) -> None:
    model = Scripted(lambda picture, question, texts: given, table(), "odd")
    with pytest.raises(SynopticError, match=sentence):
        model.score(ROWS[3:4], [["red", "blue"]])


def test_a_constant_script_is_worth_nothing() -> None:
    model = Scripted(lambda picture, question, texts: [0.1] * len(texts), table(), "constant")
    known = calibrated(model, ROWS, table())
    assert (known.deviation.item(), known.accuracy.item()) == (0.0, 0.5)
    assert normalised(model.score(ROWS[:1], [["red", "blue"]]), known).tolist() == [[0.0, 0.0]]


def test_a_script_is_found_by_its_name() -> None:
    assert load_script("math:hypot") is math.hypot
    for name, sentence in {
        "math": r"^'math' names no scoring function; write it like my_module:score\.$",
        "nowhere_at_all:score": r"cannot be imported \(No module named 'nowhere_at_all'\); check the name",
        "math:nothing": r"^the scoring function 'math:nothing' cannot be imported",
        "math:pi": r"^'math:pi' is a float, not a function",
    }.items():
        with pytest.raises(SynopticError, match=sentence):
            load_script(name)


def test_a_table_of_classes_has_nothing_to_score() -> None:
    with pytest.raises(SynopticError, match=r"^asked asks no questions, and length scores answers to questions"):
        Scripted(length, replace(table(), words=None), "length")
