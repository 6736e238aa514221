from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parquets import pictures
from synoptic.core import SynopticError
from synoptic.data import ArrayImages, DataSpec, ExampleTable, FederatedData, Words, build, manifest
from synoptic.data.wrong import Answers, Said, plain


def table(rows: list[tuple[str, str]], labels: list[int] | None = None) -> ExampleTable:
    """Questions with answers, and what kinds they are of."""
    kinds = labels or [0] * len(rows)
    words = Words(tuple(question for question, _ in rows), tuple(answer for _, answer in rows))
    images = ArrayImages(np.zeros((len(rows), 2, 2, 3), dtype=np.uint8))
    return ExampleTable("some/train", images, np.array(kinds), ("a", "b", "c"), words=words)


def wrong(known: ExampleTable, asked: ExampleTable | None = None, labelled: bool = False, seed: int = 0) -> list[str]:
    return list(Said(known, labelled).wrong(asked or known, np.random.default_rng(seed)))


def made(folder: Path, rows: list[tuple[str, str]], seed: int = 0, **options: Any) -> FederatedData:
    folder.mkdir(parents=True, exist_ok=True)
    for part, first in (("train", 0), ("test", 1)):
        questions, answers = zip(*rows, strict=True)
        columns = {"image": pictures(len(rows), first), "question": questions, "answer": answers}
        pq.write_table(pa.table({name: list(column) for name, column in columns.items()}), folder / f"{part}.parquet")
    asked = {"source": f"parquet:{folder}", "question": "question", "clients": 2, "partition": "iid", "wrong": True}
    return build(DataSpec.model_validate(asked | options), seed)


COLOURS = [("what colour?", colour) for colour in ("red", "blue", "green", "red")]
SHAPES = [("what shape?", shape) for shape in ("circle", "square", "Circle ", "star")]


# -- which one --------------------------------------------------------------------------------------------------------


@given(
    rows=st.lists(st.tuples(st.sampled_from("pqr"), st.sampled_from(["a", "A ", "b", "c d", "c  D"])), min_size=2),
    labelled=st.booleans(),
    seed=st.integers(0, 50),
)
def test_it_is_never_the_right_one_and_of_the_same_question_if_it_can(
    rows: list[tuple[str, str]], labelled: bool, seed: int
) -> None:
    answers = {plain(answer) for _, answer in rows}
    if len(answers) < 2:
        with pytest.raises(SynopticError, match="all rows of some/train have the same answer"):
            wrong(table(rows), labelled=labelled)
        return
    for (question, right), found in zip(rows, wrong(table(rows), labelled=labelled, seed=seed), strict=True):
        assert plain(found) != plain(right) and plain(found) in answers
        same = {plain(answer) for other, answer in rows if other == question}
        assert plain(found) in same or len(same) == 1


def test_answers_are_drawn_as_often_as_they_are_given() -> None:
    said = Answers(["red"] * 6 + ["blue"] * 3 + ["green"])
    drawn = [said.other("blue", chance) for chance in np.linspace(0, 1, 700, endpoint=False)]
    assert {text: drawn.count(text) for text in set(drawn)} == {"red": 600, "green": 100}
    assert said.other("RED ", 0.0) == "blue" and said.other("red", 0.9999) == "green"
    assert said.other("teal", 0.95) == "green"
    assert Answers(["red", "Red"]).other("red", 0.5) is None and Answers([]).other("red", 0.5) is None


def test_a_question_with_one_answer_gets_that_of_one_that_shares_it() -> None:
    only = [("what colour has the sea?", "blue")]
    assert {wrong(table([*COLOURS, *SHAPES, *only]), table(only), seed=seed)[0] for seed in range(20)} == {
        "red", "green"
    }  # fmt: skip


def test_or_one_of_the_same_label_where_labels_are_kinds() -> None:
    known = table([*COLOURS, *SHAPES], [0, 0, 0, 0, 1, 1, 1, 1])
    asked = table([("which form?", "oval"), ("which tint?", "pink")], [1, 0])
    found = [wrong(known, asked, labelled=True, seed=seed) for seed in range(20)]
    assert {plain(one) for one, _ in found} == {"circle", "square", "star"}
    assert {plain(two) for _, two in found} == {"red", "blue", "green"}
    assert {plain(two) for seed in range(40) for two in wrong(known, asked, seed=seed)} > {"red", "circle"}


def test_many_different_answers_take_no_time() -> None:
    """Free texts: nothing grows with the square of the rows."""
    rows = [(f"why {row}?", f"because {row}") for row in range(20_000)]
    found = wrong(table(rows), labelled=True)
    assert all(one != answer for one, (_, answer) in zip(found, rows, strict=True))
    assert len(set(found)) > 10_000


# -- in data ----------------------------------------------------------------------------------------------------------


def test_every_row_gets_one_by_the_seed(tmp_path: Path) -> None:
    rows = (COLOURS + SHAPES) * 5
    data, again, other = (made(tmp_path, rows, seed, public=0.2) for seed in (0, 0, 1))
    plainly = made(tmp_path, rows, wrong=False, public=0.2)
    assert data.pool is not None and plainly.pool is not None
    for table_, before in ((data.train, plainly.train), (data.test, plainly.test), (data.pool, plainly.pool)):
        words = table_.words
        assert words is not None and words.rejected is not None and before.words is not None
        assert words.answers == before.words.answers and before.words.rejected is None
        assert all(plain(one) != plain(two) for one, two in zip(words.answers, words.rejected, strict=True))
    assert data.fingerprint == again.fingerprint != other.fingerprint
    assert data.origin is not None and plainly.origin is not None
    assert data.origin.source == plainly.origin.source, "the files are the same"
    manifest.save(data, tmp_path / "split")
    assert manifest.load(tmp_path / "split").fingerprint == data.fingerprint


def test_the_servers_answers_are_nobodys_wrong_ones(tmp_path: Path) -> None:
    rows = [("what?", f"answer {row}") for row in range(30)]
    data = made(tmp_path, rows, public=0.5)
    assert data.pool is not None and data.pool.words is not None
    words = data.train.words
    assert words is not None and words.rejected is not None
    assert not set(words.rejected) & set(data.pool.words.answers)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"rejected": "worse"}, r"data\.wrong and data\.rejected both say what the worse answers are; leave data\.wro"),
        ({"source": "questions", "question": None}, r"data\.wrong and data\.questions both say"),
        ({"source": "digits", "question": None}, r"data\.wrong needs questions; set data\.question to their column"),
    ],
)
def test_what_makes_no_sense(options: dict[str, Any], sentence: str) -> None:
    asked = {"source": "parquet:x", "question": "question", "wrong": True} | options
    with pytest.raises(SynopticError, match=sentence):
        DataSpec.model_validate({key: value for key, value in asked.items() if value is not None})


def test_one_answer_to_everything_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SynopticError, match=r"have the same answer, so there is no wrong one; leave data\.wrong out"):
        made(tmp_path, [("what?", "this"), ("which?", "This ")] * 6)
