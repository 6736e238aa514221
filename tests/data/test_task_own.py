"""Tasks on data of one's own: parquet files and digits, dealt out to sites."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parquets import pictures, write
from synoptic.core import SynopticError
from synoptic.data import DataSpec, build, check_overlap
from synoptic.data.inspect import describe
from synoptic.data.tasks import TaskData, task_of
from synoptic.experiment.recipe import load_recipe

SHARED = os.environ.get("SYNOPTIC_SHARED_DATA", "")
NAMES = ["cat", "dog", "owl"]
DIGITS = {"name": "digits", "kind": "classify", "source": "digits"}
PETS = {"name": "pets", "kind": "classify", "source": "parquet:pets", "domain": "house"}
CALLS = {"name": "calls", "kind": "classify", "source": "parquet:pets", "reads": "text", "text": "call"}
ASKS = {"name": "asks", "kind": "generate", "source": "parquet:pets", "text": "asked", "answer": "said"}
TELLS = {"name": "tells", "kind": "generate", "source": "parquet:pets", "answer": "call"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with pictures of pets in two houses, what they call, and questions about them."""
    for part, n, seed in (("train", 60, 0), ("test", 30, 1)):
        columns = {
            "house": [i // 3 % 2 for i in range(n)],
            "call": [f"{NAMES[i % 3]} {part} {i // 2}" for i in range(n)],
            "asked": [["who?", f"where {i}?"] for i in range(n)],
            "said": [[NAMES[i % 3], "here"] for i in range(n)],
        }
        write(tmp_path / "pets" / f"{part}.parquet", n, seed, {"label": NAMES}, **columns)
    return tmp_path


def spec(folder: Path, *own: dict[str, Any], **tasks: Any) -> DataSpec:
    files = any("parquet" in one["source"] or "folder" in one["source"] for one in own)
    given = {"own": list(own), "groups": 2, "train": 10, "test": 4, **tasks}
    return DataSpec.model_validate({"source": "tasks", "tasks": given, **({"path": str(folder)} if files else {})})


def made(folder: Path, *own: dict[str, Any], **tasks: Any) -> TaskData:
    data = build(spec(folder, *own, **tasks), 0)
    assert isinstance(data, TaskData)
    return data


def rows(data: TaskData, client: int, part: str = "train") -> list[tuple[str, str, str]]:
    """A client's rows as task, text, answer."""
    table = data.test if part == "test" else data.train
    positions = getattr(data.clients, part)(client)
    assert table.words is not None
    return [(data.tasks[task].name, table.words.questions[row], table.words.answers[row])
            for row, task in zip(positions, task_of(table, positions), strict=True)]  # fmt: skip


def test_every_task_has_a_site_of_its_own_unless_told_otherwise(folder: Path) -> None:
    data = made(folder, DIGITS, PETS, CALLS, ASKS, TELLS)
    assert len(data.clients) == 10
    assert [row.domains for row in describe(data)][:5] == [("digits",), ("pets",), ("calls",), ("asks",), ("tells",)]
    kinds = {task.name: (task.kind, task.modalities, task.labels) for task in data.tasks}
    assert kinds["pets"] == ("classify", ("image",), tuple(NAMES))
    assert kinds["calls"] == ("classify", ("text",), tuple(NAMES))
    assert kinds["asks"] == ("generate", ("image", "text"), ())
    assert kinds["tells"] == ("generate", ("image",), ())
    assert {len(data.clients.train(k)) for k in range(10)} == {8}
    assert {len(data.clients.test(k)) for k in range(10)} == {4}


def test_rows_say_what_the_file_says(folder: Path) -> None:
    data = made(folder, PETS, CALLS, ASKS, TELLS)
    assert {answer for _, question, answer in rows(data, 0) if not question} <= set(NAMES)
    assert all(call.startswith(f"{label} train") for _, call, label in rows(data, 1))
    assert all(answer in NAMES if question == "who?" else answer == "here" for _, question, answer in rows(data, 2))
    assert all(not question and " train " in answer for _, question, answer in rows(data, 3))


def test_own_tasks_and_those_of_the_world_live_together(folder: Path) -> None:
    strokes = {**DIGITS, "name": "strokes", "kind": "reconstruct"}
    data = made(folder, DIGITS, strokes, CALLS, archetypes=[["digits", "strokes"], "shapes", ["calls", "corrections"]])
    assert [task.name for task in data.tasks] == ["digits", "strokes", "shapes", "calls", "corrections"]
    assert {answer for name, _, answer in rows(data, 0) if name == "strokes"} == {""}
    shown = data.train.images.load(data.clients.train(2))
    assert {np.asarray(picture).shape for picture in shown} == {(4, 4, 3), (32, 32, 3)}
    check_overlap(data)


def test_no_row_is_dealt_twice_and_earlier_sites_stay_when_more_come(folder: Path) -> None:
    data, fewer = made(folder, PETS, groups=3), made(folder, PETS, groups=1)
    seen = data.train.content_hashes(np.arange(len(data.train)))
    assert len(set(seen)) == len(seen)
    assert rows(data, 0, "test") == rows(fewer, 0, "test")
    assert seen[: len(fewer.train)] == fewer.train.content_hashes(np.arange(len(fewer.train)))


def test_r10_what_a_test_row_shows_is_trained_on_in_no_task(folder: Path, tmp_path: Path) -> None:
    copies = pictures(30, 1)  # the test pictures again, in training data of another task
    write(tmp_path / "others" / "train.parquet", 60, 2, {"label": NAMES}, image=[*copies, *pictures(30, 3)])
    write(tmp_path / "others" / "test.parquet", 24, 4, {"label": NAMES})
    others = {**PETS, "name": "others", "source": "parquet:others"} | {"domain": None}
    data = made(folder, PETS, others, test=10)
    check_overlap(data)
    with pytest.raises(SynopticError, match="has 60 different train rows, and 2 sites want 29 each"):
        made(folder, PETS, others, test=10, train=29)


def test_texts_are_dealt_once_and_never_trained_and_tested(folder: Path) -> None:
    data = made(folder, CALLS)
    texts = [text for k in range(2) for part in ("train", "val") for _, text, _ in rows(data, k, part)]
    assert len(set(texts)) == len(texts), "the file has each of them twice"
    same = ["the very same words"] * 8
    write(folder / "pets/train.parquet", 40, 0, {"label": NAMES}, call=[*same, *(f"call {i}" for i in range(32))])
    write(
        folder / "pets/test.parquet",
        10,
        1,
        {"label": NAMES},
        call=["call 0", *(f"other {i}" for i in range(8)), same[0]],
    )
    data = made(folder, CALLS, groups=1, train=31)
    check_overlap(data)
    trained = {text for part in ("train", "val") for _, text, _ in rows(data, 0, part)}
    assert not trained & {text for _, text, _ in rows(data, 0, "test")}


def test_a_table_of_texts_needs_no_pictures(tmp_path: Path) -> None:
    table = pa.table(
        {"news": [f"story {i // 2}" for i in range(80)], "topic": ["war" if i % 4 < 2 else "art" for i in range(80)]}
    )
    pq.write_table(table, tmp_path / "news.parquet")
    news = {
        "name": "news",
        "kind": "classify",
        "reads": "text",
        "source": "parquet:news.parquet",
        "text": "news",
        "label": "topic",
    }
    data = made(tmp_path, news, train=8, test=2, groups=2)
    assert data.tasks[0].labels == ("art", "war")
    check_overlap(data)


def test_skews_are_those_of_domains_and_of_labels(folder: Path) -> None:
    even, own = (made(folder, PETS, feature_skew=share, train=20) for share in (0.0, 1.0))
    houses = {content: i // 3 % 2 for i, content in enumerate(_hashes(folder / "pets/train.parquet"))}
    found = [{houses[seen] for seen in own.train.content_hashes(own.clients.train(k))} for k in range(2)]
    assert found == [{0}, {1}], "every group has a domain of its own"
    assert {houses[seen] for seen in even.train.content_hashes(even.clients.train(0))} == {0, 1}
    skewed = made(folder, DIGITS, label_skew=0.1, train=60, test=20)
    for k in range(2):
        train, test = (np.bincount(table.labels[rows], minlength=10) for table, rows in
                       ((skewed.train, skewed.clients.train(k)), (skewed.test, skewed.clients.test(k))))  # fmt: skip
        assert train.max() > 0.3 * train.sum()
        assert train.argmax() == test.argmax()


def _hashes(path: Path) -> list[str]:
    """Of all pictures of a file, in its order."""
    whole = build(DataSpec(source=f"parquet:{path}", test_path=str(path.with_name("test.parquet")), partition="iid"), 0)
    return whole.train.content_hashes(np.arange(len(whole.train)))


def test_questions_about_one_picture_are_set_aside_together(folder: Path) -> None:
    data = made(folder, ASKS, groups=1, train=60, test=4)
    parts = [set(data.train.content_hashes(part)) for part in (data.clients.train(0), data.clients.val(0))]
    assert len(parts[0]) + len(parts[1]) < 60
    assert not parts[0] & parts[1]


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ({**PETS, "source": "parquet:gone"}, r"task 'pets': no parquet file matches .*gone; check path"),
        (
            {**PETS, "label": "kind"},
            r"task 'pets': .*\.parquet has no column 'kind'; set label to one of its columns",
        ),
        ({**CALLS, "text": "cry"}, r"task 'calls': .* has no column 'cry'; set"),
        ({**PETS, "source": "parket:pets"}, r"task 'pets' has the source 'parket', which is not known; did you mean"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(folder: Path, own: dict[str, Any], sentence: str) -> None:
    with pytest.raises((SynopticError, ValueError), match=sentence):
        made(folder, own)


def test_a_task_without_rows_is_told(folder: Path) -> None:
    path = folder / "pets/test.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    with pytest.raises(SynopticError, match="task 'pets' has 0 different test rows, and 2 sites want 4 each; lower"):
        made(folder, PETS)


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ([{**CALLS, "text": None}], "task 'calls' reads text and names no column of texts; set text"),
        ([{**PETS, "reads": "image", "text": "call"}], "task 'pets' reads image and names a column of texts"),
        ([{**ASKS, "answer": None}], r"task 'asks' \(generate\) names no column of texts to write"),
        ([{**PETS, "answer": "said"}], r"task 'pets' \(classify\) names a column of texts to write"),
        ([{**PETS, "label": None}], r"task 'pets' \(classify\) names no column of labels; set label"),
        ([{**PETS, "source": "tasks"}], "task 'pets' cannot have data=tasks; name another source"),
        ([{**PETS, "path": "elsewhere"}], r"a task has two paths \(pets, elsewhere\); give one"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_read(own: list[dict[str, Any]], sentence: str) -> None:
    with pytest.raises(SynopticError, match=sentence):
        spec(Path(), *own)


def test_two_tasks_of_one_name_are_refused_with_what_differs(folder: Path) -> None:
    with pytest.raises(
        SynopticError, match=r"two tasks are called 'pets' and differ in labels: \(cat, dog, owl\), and"
    ):
        made(folder, PETS, {**DIGITS, "name": "pets"})
    with pytest.raises(SynopticError, match=r"data\.tasks\.own has two tasks called 'pets'; give each a name"):
        made(folder, PETS, PETS)
    with pytest.raises(SynopticError, match="two tasks are called 'shapes' and differ in labels"):
        made(folder, {**DIGITS, "name": "shapes"})


def test_a_path_is_for_own_files(folder: Path) -> None:
    with pytest.raises(SynopticError, match=r"data\.path has no meaning for data\.source=tasks"):
        DataSpec.model_validate({"source": "tasks", "path": str(folder)})
    with pytest.raises(SynopticError, match="names 'pet', which is no task; did you mean 'pets'"):
        made(folder, PETS, archetypes=["pet"])


def test_a_recipe_finds_the_files_from_any_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", str(folder))
    recipe = load_recipe(
        "fedavg",
        [
            "data=tasks",
            "data.path=$WHERE",
            "data.tasks.groups=1",
            "data.tasks.train=10",
            "data.tasks.test=4",
            "data.tasks.own=[{name: pets, kind: classify, source: 'parquet:pets'}]",
        ],
    )
    assert recipe.data.path == str(folder)
    assert len(build(recipe.data, 0).clients) == 1


@pytest.mark.shared_data
@pytest.mark.skipif(not Path(SHARED, "easy_vqa").is_dir(), reason="SYNOPTIC_SHARED_DATA does not name the sets")
def test_r10_the_real_tasks_of_the_recipe_have_nothing_in_both_parts() -> None:
    recipe = load_recipe("recipes/tap_real.yaml", [f"data.path={SHARED}"])
    data = build(recipe.data, 0)
    assert isinstance(data, TaskData)
    assert {task.kind for task in data.tasks} == {"classify", "generate", "reconstruct"}
    assert len(data.clients) == 15
    check_overlap(data)
    assert data.train.words is not None
    assert data.test.words is not None
    index = [task.name for task in data.tasks].index("names")
    texts = [
        {table.words.questions[row] for row in np.flatnonzero(table.domains == index)}
        for table in (data.train, data.test)
    ]
    assert not texts[0] & texts[1]
