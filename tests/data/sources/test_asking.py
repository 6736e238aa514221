from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parquets import pictures, write
from synoptic.core import SynopticError
from synoptic.data import DataSpec, FederatedData, build, check_overlap, manifest
from synoptic.data.sources import Source, open_source
from synoptic.data.sources.asking import FEW, length_domains

COLOURS = ["red", "blue", "green"]


def asked(path: Path, n: int = 24, seed: int = 0, without: tuple[str, ...] = (), **columns: Any) -> Path:
    """A file of one question for each picture."""
    data = {
        "question": [f"what is it, number {i}?" for i in range(n)],
        "answer": [COLOURS[i % 3] for i in range(n)],
        "image": pictures(n, seed),
    } | columns
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({name: column for name, column in data.items() if name not in without}), path)
    return path


def both(folder: Path, **columns: Any) -> Path:
    asked(folder / "train.parquet", **columns)
    asked(folder / "test.parquet", seed=1, **columns)
    return folder


def source(path: Path, **options: Any) -> Source:
    return open_source(DataSpec.model_validate({"source": f"parquet:{path}", "question": "question", **options}))


def made(path: Path, seed: int = 0, **options: Any) -> FederatedData:
    spec = DataSpec.model_validate({"source": f"parquet:{path}", "question": "question", "clients": 3, **options})
    return build(spec, seed)


def values(data: FederatedData, names: list[str], rows: np.ndarray) -> set[str]:
    """Which of ``names`` the questions of some training rows end in."""
    assert data.train.words is not None
    return {name for row in rows for name in names if data.train.words.questions[row].endswith(name)}


# -- columns ----------------------------------------------------------------------------------------------------------


def test_a_column_of_questions_and_one_of_answers(tmp_path: Path) -> None:
    opened = source(both(tmp_path))
    assert opened.train.words is not None
    assert opened.train.words.questions[4] == "what is it, number 4?"
    assert opened.train.words.answers[:3] == ("red", "blue", "green")
    assert opened.train.words.rejected is None
    assert opened.train.class_names == ("blue", "green", "red"), "few answers are classes"
    assert [opened.train.class_names[i] for i in opened.train.labels[:3]] == COLOURS


def test_lists_become_rows_that_share_their_picture(tmp_path: Path) -> None:
    questions = [[f"{i}-{j}?" for j in range(i % 3 + 1)] for i in range(24)]
    answers = [[f"a{j}" for j in range(i % 3 + 1)] for i in range(24)]
    opened = source(both(tmp_path, question=questions, answer=answers, weight=list(range(24))), label="weight")
    words = opened.train.words
    assert words is not None
    assert words.questions[:6] == ("0-0?", "1-0?", "1-1?", "2-0?", "2-1?", "2-2?")
    assert words.answers[:6] == ("a0", "a0", "a1", "a0", "a1", "a2")
    assert opened.train.labels[:6].tolist() == [0, 1, 1, 2, 2, 2], "other columns go along"
    first, place = opened.train.distinct(np.arange(6))
    assert (first.tolist(), place.tolist()) == ([0, 1, 3], [0, 1, 1, 2, 2, 2])
    data = made(tmp_path)
    assert data.summary()["pictures"] == 24
    check_overlap(data)


def test_class_labels_numbers_and_truth_are_words(tmp_path: Path) -> None:
    names = {"label": ["false", "true", "unknown"]}
    columns = {"count": [i % 4 for i in range(24)], "holds": [i % 2 == 0 for i in range(24)],
               "question": [f"{i}?" for i in range(24)]}  # fmt: skip
    write(tmp_path / "train.parquet", words=names, **columns)
    write(tmp_path / "test.parquet", seed=1, words=names, **columns)
    said = {column: source(tmp_path, answer=column).train.words for column in ("label", "count", "holds")}
    assert [words.answers[:4] for words in said.values() if words is not None] == [
        ("false", "true", "unknown", "false"), ("0", "1", "2", "3"), ("true", "false", "true", "false"),
    ]  # fmt: skip


def test_captions_answer_an_instruction(tmp_path: Path) -> None:
    captions = [[f"caption {i}", f"another {i}"] for i in range(24)]
    spec = {"question": None, "instruction": " describe the picture. ", "answer": "caption"}
    words = source(both(tmp_path, without=("question", "answer"), caption=captions), **spec).train.words
    assert words is not None
    assert set(words.questions) == {"describe the picture."}
    assert words.answers[:3] == ("caption 0", "another 0", "caption 1")


def test_preference_records_with_the_columns_of_rlaif_v(tmp_path: Path) -> None:
    columns = {"chosen": [f"the better answer {i}" for i in range(60)], "rejected": ["a worse one"] * 60,
               "origin_dataset": [("coco", "vqa", "landmarks")[i % 3] for i in range(60)]}  # fmt: skip
    path = asked(tmp_path / "train.parquet", n=60, without=("answer",), **columns)
    options = {"answer": "chosen", "rejected": "rejected"}
    data = made(path, **options, clients=None, partition={"kind": "column", "column": "origin_dataset"})
    assert [data.clients.name(k) for k in range(3)] == ["coco", "landmarks", "vqa"]
    parts = (data.clients.train_rows, data.clients.val_rows, data.clients.test_rows)
    assert [part.counts.tolist() for part in parts] == [[16] * 3, [2] * 3, [2] * 3], "80/10/10 within each client"
    assert data.test.words is not None
    assert data.test.words.rejected == ("a worse one",) * 6
    assert data.class_names == ("answer",), "with so many answers there is nothing to skew"
    skewed = made(path, **options, label="origin_dataset", partition={"kind": "dirichlet", "alpha": 0.2})
    assert skewed.class_names == ("coco", "landmarks", "vqa")


def test_the_most_answers_that_are_classes(tmp_path: Path) -> None:
    few = asked(tmp_path / "few.parquet", n=2 * FEW, answer=[f"{i % FEW}" for i in range(2 * FEW)])
    many = asked(tmp_path / "many.parquet", n=2 * FEW, answer=[f"{i % (FEW + 1)}" for i in range(2 * FEW)])
    assert len(source(few).train.class_names) == FEW
    assert source(many).train.class_names == ("answer",)


def test_a_rare_answer_may_be_missing_from_a_part(tmp_path: Path) -> None:
    asked(tmp_path / "train.parquet", answer=["red"] * 23 + ["rare"])
    asked(tmp_path / "test.parquet", seed=1, answer=["red"] * 23 + ["unheard of"])
    data = made(tmp_path, partition="classes", clients=2, validation=0)
    assert min(len(data.clients.test(k)) for k in range(2)) > 0
    assert len(made(tmp_path, partition="iid", train_limit=6, test_limit=2).test) == 2


# -- parts ------------------------------------------------------------------------------------------------------------


def test_a_column_of_the_test_part_gives_each_client_its_own(tmp_path: Path) -> None:
    sites = [("north", "south", "west")[i % 3] for i in range(24)]
    path = both(tmp_path, site=sites, answer=[f"answer {i}" for i in range(24)])
    data = made(path, clients=None, partition={"kind": "column", "column": "site"})
    for k in range(3):
        assert data.clients.test(k).tolist() == list(range(k, 24, 3))


def test_a_test_part_without_the_column_is_replaced_by_own_rows(tmp_path: Path) -> None:
    sites = [("north", "south")[i % 2] for i in range(40)]
    asked(tmp_path / "train.parquet", n=40, site=sites)
    asked(tmp_path / "test.parquet", seed=1)
    data = made(tmp_path, clients=None, partition={"kind": "column", "column": "site"})
    assert data.clients.test_rows.counts.tolist() == [2, 2]
    assert data.test.words is not None
    numbers = [int(question.rsplit(" ", 1)[1].rstrip("?")) for question in data.test.words.questions]
    for k, site in enumerate(("north", "south")):
        assert {sites[numbers[row]] for row in data.clients.test(k)} == {site}


@pytest.mark.parametrize("share", ["iid", "dirichlet"])
def test_no_picture_is_on_two_sides(tmp_path: Path, share: str) -> None:
    same = [picture for picture in pictures(30, 0) for _ in range(3)]
    path = asked(tmp_path / "train.parquet", n=90, image=same)
    data = made(path, partition=share, validation=0.3)
    assert data.summary()["duplicates_dropped"] == 0, "the rows of a picture were set aside together"
    assert len(data.test) == 9
    check_overlap(data)


def test_questions_of_one_list_are_for_training_or_for_validation(tmp_path: Path) -> None:
    lists = {"question": [["a?", "b?", "c?"]] * 24, "answer": [["yes", "no", "no"]] * 24}
    data = made(both(tmp_path, **lists), partition="iid", validation=0.4)
    pictures_of = data.train.distinct(np.arange(len(data.train)))[1]
    for k in range(3):
        own, aside = (set(pictures_of[rows]) for rows in (data.clients.train(k), data.clients.val(k)))
        assert aside
        assert not own & aside


def test_rows_with_copies_of_one_picture_are_for_training_or_for_validation(tmp_path: Path) -> None:
    same = [picture for picture in pictures(20, 0) for _ in range(3)]
    data = made(asked(tmp_path / "train.parquet", n=60, image=same), partition="iid", validation=0.4)
    stored = np.array(data.train.signatures(np.arange(len(data.train))))
    for k in range(3):
        own, aside = (set(stored[rows]) for rows in (data.clients.train(k), data.clients.val(k)))
        assert aside
        assert not own & aside


@pytest.mark.parametrize("share", ["iid", {"kind": "dirichlet", "alpha": 0.3}])
def test_groups_stay_with_one_client_and_on_one_side(tmp_path: Path, share: Any) -> None:
    names = [f"group {i // 6}" for i in range(120)]
    path = asked(tmp_path / "train.parquet", n=120, group=names, question=[f"of {name}" for name in names])
    data = made(path, group="group", partition=share, validation=0.25)
    parts = [rows for k in range(3) for rows in (data.clients.train(k), data.clients.val(k))]
    held = [values(data, sorted(set(names)), rows) for rows in parts]
    assert data.test.words is not None
    held.append({question.removeprefix("of ") for question in data.test.words.questions})
    assert sum(len(part) for part in held) == len(set.union(*held)) == 20


def test_lengths_of_answers_are_domains(tmp_path: Path) -> None:
    answers = [" ".join(["word"] * (1 + i % 9)) for i in range(27)]
    path = both(tmp_path, n=27, answer=answers)
    data = made(path, answer_lengths=3, clients=None)
    assert data.train.domain_names == ("words-1-3", "words-4-6", "words-7-up")
    assert [data.clients.name(k) for k in range(3)] == list(data.train.domain_names)
    assert data.train.words is not None
    for k in range(3):
        assert {len(data.train.words.answers[row].split()) for row in data.clients.train(k)} <= set(
            range(3 * k + 1, 3 * k + 4)
        )
        assert len(data.tests[f"domain/{data.train.domain_names[k]}"]) == 9


@given(st.lists(st.integers(1, 60), min_size=30, max_size=80, unique=True), st.integers(2, 5))
def test_length_domains_are_equal_and_in_order(lengths: list[int], count: int) -> None:
    train = np.array(lengths)
    names, (codes, more) = length_domains([train, np.array([1, 1000])], count, "x")
    sizes = np.bincount(codes, minlength=count)
    assert len(names) == count
    assert sizes.max() - sizes.min() <= 1
    assert (np.diff(codes[np.argsort(train)]) >= 0).all()
    assert more.tolist() == [0, count - 1]


def test_a_manifest_restores_the_words(tmp_path: Path) -> None:
    data = made(both(tmp_path / "data"))
    manifest.save(data, tmp_path / "split")
    back = manifest.load(tmp_path / "split")
    assert back.fingerprint == data.fingerprint
    assert back.train.words is not None
    assert data.train.words is not None
    assert back.train.words.answers == data.train.words.answers
    assert made(tmp_path / "data", seed=1).fingerprint != data.fingerprint


# -- bad input --------------------------------------------------------------------------------------------------------

LISTS: dict[str, Any] = {"question": [["a?", "b?"]] * 24, "answer": [["yes", "no"]] * 24}


@pytest.mark.parametrize(
    ("columns", "options", "sentence"),
    [
        ({}, {"question": "ask"}, "has no column 'ask'; set data.question to one of its columns: question, answer, im"),
        ({}, {"answer": "reply"}, "has no column 'reply'; set data.answer to one of"),
        ({}, {"rejected": "worse"}, "has no column 'worse'; set data.rejected to one of"),
        ({}, {"group": "patient"}, "has no column 'patient'; set data.group to one of"),
        ({}, {"answer": "image"}, "column 'image' of .* holds struct<.*>, not words; set data.answer to a column of"),
        ({"answer": [0.5] * 24}, {}, "holds double, not words"),
        ({"answer": ["x"] * 9 + [" "] + ["x"] * 14}, {}, r"row 9 of .*parquet has no words in 'answer'; fill or"),
        ({"question": ["x"] * 3 + [""] * 21}, {}, "row 3 of .*parquet has no words in 'question'"),
        ({"answer": ["x"] * 5 + [None] + ["x"] * 18}, {}, "column 'answer' .* is empty in 1 rows, first in row 5"),
        ({**LISTS, "answer": [["yes", "no"]] * 7 + [["yes"]] * 17}, {}, "row 7 of .* has 2 in 'question' but 1 in 'a"),
        ({**LISTS, "answer": [["yes", "no"]] * 7 + [["yes", None]] * 17}, {}, r"row 7 of .* \(entry 1 of the list\) h"),
        ({"question": LISTS["question"]}, {}, "has lists in 'question' but single values in 'answer'; set data.answer"),
        ({"answer": LISTS["answer"]}, {}, "has lists in 'answer' but single values in 'question'; set data.answer to"),
        ({}, {"answer_lengths": 4}, "are too much alike in length for 4 domains; lower data.answer_lengths"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    tmp_path: Path, columns: dict[str, Any], options: dict[str, Any], sentence: str
) -> None:
    both(tmp_path, **columns)
    with pytest.raises(SynopticError, match=sentence) as caught:
        source(tmp_path, **options)
    assert str(caught.value).count(". ") == 0


def test_a_damaged_picture_is_named_by_its_row_in_the_file(tmp_path: Path) -> None:
    damaged = pictures(24, 0)
    damaged[5]["bytes"] = b"no picture"
    opened = source(asked(tmp_path / "train.parquet", image=damaged, **LISTS))
    with pytest.raises(SynopticError, match=r"row 5 of .*train.parquet is not a readable image"):
        opened.train.images.load(np.arange(len(opened.train)))
        opened.test.images.load(np.arange(len(opened.test)))
