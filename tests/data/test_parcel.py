from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from answerers import odd_pictures, odd_table, table
from synoptic.core import SynopticError
from synoptic.data.images import ArrayImages, EncodedImages, FileImages, ImageStore, choose
from synoptic.data.parcel import Parcel, pack
from synoptic.data.table import ExampleTable
from synoptic.data.words import Words


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def asking(store: ImageStore) -> ExampleTable:
    questions = tuple(f"what is row {row} — é?" for row in range(len(store)))
    return ExampleTable("asked", store, np.zeros(len(store), dtype=np.int64), ("any",),
                        words=Words(questions, ("secret",) * len(store)))  # fmt: skip


def same_pictures(one: ImageStore, two: ImageStore) -> bool:
    assert len(one) == len(two)
    pairs = zip(one.load(np.arange(len(one))), two.load(np.arange(len(two))), strict=True)
    return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in pairs)


@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.data())
@settings(max_examples=30, deadline=None)
def test_arrays_and_choices_of_them_arrive_bit_for_bit(
    count: int, height: int, width: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    store: ImageStore = ArrayImages(rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8))
    chosen = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=6))
    sent = asking(choose(store, np.array(chosen)))
    parcel = pack(sent)
    assert len(parcel.ends) == len(set(chosen)), "a picture that several questions share is sent once"
    got = parcel.table("shown")
    assert same_pictures(got.images, sent.images)
    assert got.words is not None and sent.words is not None
    assert got.words.questions == sent.words.questions
    assert pack(got).fingerprint == parcel.fingerprint, "packing what came gives the same bytes"


def test_encoded_pictures_travel_as_they_are_and_files_as_they_look(tmp_path: Path) -> None:
    content = [png(picture) for picture in odd_pictures([(4, 9), (7, 3), (5, 5)])]
    encoded = pack(asking(EncodedImages(content)))
    assert encoded.pictures.tobytes() == b"".join(content)
    paths = tuple(tmp_path / f"{place}.png" for place in range(3))
    for path, one in zip(paths, content, strict=True):
        path.write_bytes(one)
    files = FileImages(paths)
    assert same_pictures(pack(asking(files)).table("shown").images, files)


def test_several_questions_about_one_picture() -> None:
    sent = odd_table()
    parcel = pack(sent)
    assert parcel.shows.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    got = parcel.table("shown")
    assert same_pictures(got.images, sent.images)
    assert len(got.distinct(np.arange(8))[0]) == 4


def test_answers_stay_behind() -> None:
    parcel = pack(asking(ArrayImages(np.zeros((2, 3, 3, 3), dtype=np.uint8))))
    for array in (parcel.pictures, parcel.ends, parcel.shows, parcel.questions):
        assert b"secret" not in array.tobytes()
    words = parcel.table("shown").words
    assert words is not None and words.rejected is None and words.gold is None
    assert set(words.answers) == {"."}


def test_other_content_is_another_parcel() -> None:
    first, second = pack(table()), pack(table(shared=False))
    words = table().words
    assert words is not None
    asked = replace(words, questions=(*words.questions[:-1], "is it blue ?"))
    third = pack(replace(table(), words=asked))
    assert len({one.fingerprint for one in (first, second, third)}) == 3
    assert first.fingerprint == pack(table(rejected=False)).fingerprint, "nobody is shown what is rejected"


WHOLE = pack(table())


@pytest.mark.parametrize(
    "damage",
    [
        {"pictures": WHOLE.pictures[:-1]},
        {"pictures": WHOLE.pictures.astype(np.float32)},
        {"ends": WHOLE.ends[:0]},
        {"ends": WHOLE.ends[::-1].copy()},
        {"ends": WHOLE.ends - WHOLE.ends[0]},
        {"ends": WHOLE.ends.astype(np.float64)},
        {"ends": WHOLE.ends[None]},
        {"shows": WHOLE.shows[:-1]},
        {"shows": WHOLE.shows + 4},
        {"shows": WHOLE.shows - 1},
        {"shows": WHOLE.shows.astype(bool)},
    ],
    ids=lambda damage: next(iter(damage)),
)
def test_arrays_that_do_not_fit_are_one_sentence(damage: dict[str, np.ndarray]) -> None:
    with pytest.raises(SynopticError, match=r"^the pictures and questions of shown do not fit each other; send them"):
        replace(WHOLE, **damage).table("shown")


@pytest.mark.parametrize("content", ["[", "7", '"words"', '{"a": 1}', "[1, 2]", "null"])
def test_questions_that_are_none_are_one_sentence(content: str) -> None:
    odd = np.frombuffer(content.encode(), dtype=np.uint8)
    with pytest.raises(SynopticError, match=r"^the questions of shown are no JSON list of texts; send them again\.$"):
        replace(WHOLE, questions=odd).table("shown")
    bytes_of_no_text = np.array([0x5B, 0xFF, 0x5D], dtype=np.uint8)
    with pytest.raises(SynopticError, match="no JSON list of texts"):
        replace(WHOLE, questions=bytes_of_no_text).table("shown")


def test_a_picture_that_is_none_is_named_by_its_row() -> None:
    noise = Parcel(np.zeros(6, dtype=np.uint8), np.array([6]), np.array([0]),
                   np.frombuffer(json.dumps(["what?"]).encode(), dtype=np.uint8))  # fmt: skip
    with pytest.raises(SynopticError, match="row 0 of shown is not a readable image"):
        noise.table("shown").images.load(np.array([0]))


def test_a_table_of_classes_has_nothing_to_ask() -> None:
    with pytest.raises(SynopticError, match="asked asks no questions"):
        pack(replace(table(), words=None))
