from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from parquets import pictures
from synoptic.core import SynopticError
from synoptic.data import DataSpec, ExampleTable, FederatedData, build, check_overlap, inspect, manifest
from synoptic.data.public import connected
from synoptic.data.table import EncodedImages
from synoptic.experiment.display.tables import show_clients

SITES = ["north", "north", "south", "east"]


def write(folder: Path, images: int = 24) -> Path:
    """Pictures with one to three questions each; every sixth is a copy of the one before, stored apart."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, seed in (("train", 0), ("test", 1)):
        shown = pictures(images, seed)
        for place in range(5, images, 6):
            shown[place] = shown[place - 1]
        asked = [[f"what is {part} {place}-{one}?" for one in range(place % 3 + 1)] for place in range(images)]
        said = [[("red", "blue", "green")[(place + one) % 3] for one in range(len(some))]
                for place, some in enumerate(asked)]  # fmt: skip
        pq.write_table(pa.table({
            "image": shown, "question": asked, "answer": said,
            "site": [SITES[place % len(SITES)] for place in range(images)],
            "patient": [place // 3 for place in range(images)],
        }), folder / f"{part}.parquet")  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("asked"))


def made(files: Path, seed: int = 0, **options: Any) -> FederatedData:
    asked = {"source": f"parquet:{files}", "question": "question", "clients": 3, "partition": "iid", "public": 0.25}
    spec = {key: value for key, value in (asked | options).items() if value is not None}
    return build(DataSpec.model_validate(spec), seed)


def shown(table: ExampleTable | None) -> set[str]:
    """The pictures of a table by their pixels."""
    assert table is not None
    return set(table.content_hashes(np.arange(len(table))))


def asked(table: ExampleTable | None) -> list[str]:
    assert table is not None and table.words is not None
    return list(table.words.questions)


# -- what always holds ------------------------------------------------------------------------------------------------

COLUMN = {"partition": {"kind": "column", "column": "site"}, "clients": None}


@settings(deadline=None, max_examples=20)
@given(
    share=st.floats(0.01, 0.6),
    seed=st.integers(0, 99),
    how=st.sampled_from([{}, {"domain": "site", "partition": "domain"}, COLUMN, {"group": "patient"}, {"shots": 2},
                         {"partition": "dirichlet"}, {"novel": ("red",)}, {"validation": 0.4}]),
)  # fmt: skip
def test_the_server_and_clients_share_no_picture_and_nothing_is_lost(
    files: Path, share: float, seed: int, how: dict[str, Any]
) -> None:
    data, before = made(files, seed, public=share, **how), made(files, seed, public=0.0, **how)
    assert before.pool is None
    assert not shown(data.pool) & shown(data.train) and not shown(data.pool) & shown(data.test)
    together = sorted(asked(data.pool) + asked(data.train))
    if "shots" in how:
        assert set(asked(data.pool)) <= {f"what is train {i}-{j}?" for i in range(24) for j in range(3)}
    else:
        assert together == sorted(asked(before.train))
    assert asked(data.test) == asked(before.test)
    assert len(data.clients) == len(before.clients), "nobody vanishes"
    assert data.pool is not None and set(data.pool.labels) <= set(data.base_classes)
    check_overlap(data)


def test_it_is_a_share_of_the_pictures(files: Path) -> None:
    data = made(files, public=0.25)
    assert len(shown(data.pool)) == 5, "a quarter of 20 that differ"
    assert data.summary()["pool"] == len(asked(data.pool))
    assert data.pool is not None and data.pool.name.endswith("/public")


def test_rows_of_a_group_go_together(files: Path) -> None:
    data = made(files, group="patient")
    patients = [{int(text.split()[3].split("-")[0]) // 3 for text in asked(one)} for one in (data.pool, data.train)]
    assert not patients[0] & patients[1]


def test_of_every_site_a_share(files: Path) -> None:
    data = made(files, public=0.5, domain="site", partition="domain")
    assert data.pool is not None and set(data.pool.domains.tolist()) == {0, 1, 2}  # type: ignore[union-attr]
    assert data.pool.domain_names == data.train.domain_names


def test_the_seed_draws_them_and_a_manifest_restores_them(files: Path, tmp_path: Path) -> None:
    data, again, other = (made(files, seed) for seed in (0, 0, 1))
    assert asked(data.pool) == asked(again.pool) != asked(other.pool)
    manifest.save(data, tmp_path)
    back = manifest.load(tmp_path)
    assert back.fingerprint == data.fingerprint and asked(back.pool) == asked(data.pool)
    plain = made(files, public=0.0)
    manifest.save(plain, tmp_path / "plain")
    assert manifest.load(tmp_path / "plain").pool is None


def test_a_recipe_without_it_reads_as_before(files: Path) -> None:
    without = DataSpec.model_validate({"source": f"parquet:{files}", "question": "question"}).model_dump()
    assert not {"public", "wrong"} & set(without)
    given = {"source": "questions", "public": 0.2}
    assert DataSpec.model_validate(DataSpec.model_validate(given).model_dump()).public == 0.2


def test_of_generated_questions_too() -> None:
    data = build(DataSpec.model_validate({"source": "questions", "public": 0.2, "questions": {"train": 20}}), 0)
    assert data.pool is not None and data.pool.domains is not None
    assert len(data.pool) == 20 and set(np.bincount(data.pool.domains)) == {4}
    check_overlap(data)


@pytest.mark.parametrize("again", [False, True])
def test_the_overlap_check_covers_it(files: Path, again: bool) -> None:
    data = made(files)
    assert data.pool is not None
    leaked = data.train.take(np.array([0]))
    if again:
        # The same pixels in other bytes are the same picture.
        content = [stored(leaked)]
        leaked = replace(leaked, images=EncodedImages(content, "again"))
    with pytest.raises(SynopticError, match=r"training images are public images too"):
        check_overlap(replace(data, pool=leaked))


def stored(table: ExampleTable) -> bytes:
    file = io.BytesIO()
    (picture,) = table.images.load(np.array([0]))
    Image.fromarray(np.asarray(picture)).save(file, "BMP")
    return file.getvalue()


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12))
def test_units_are_all_that_hangs_together(pairs: list[tuple[int, int]]) -> None:
    one, two = (np.array(side) for side in zip(*pairs, strict=True))
    found = connected(one, two)
    for numbers in (one, two):
        for number in np.unique(numbers):
            assert len(np.unique(found[numbers == number])) == 1
    for unit in np.unique(found):
        inside = found == unit
        assert not set(one[inside]) & set(one[~inside]) and not set(two[inside]) & set(two[~inside])


# -- what makes no sense ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"source": "questions", "questions": {"public": 5}},
            r"data\.public and data\.questions\.public both say what",
        ),
        ({"source": "digits"}, r"data\.public needs questions; set data\.question to their column"),
        ({"source": "world"}, r"data\.public needs questions"),
        ({"source": "tasks"}, r"data\.public "),
    ],
)
def test_what_is_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SynopticError, match=sentence):
        DataSpec.model_validate({"public": 0.2, **options})


def test_who_has_a_single_picture_each_can_spare_none(tmp_path: Path) -> None:
    for part, seed in (("train", 0), ("test", 1)):
        pq.write_table(pa.table({
            "image": pictures(4, seed), "question": ["what?"] * 4, "answer": ["a", "b"] * 2, "site": list("abcd"),
        }), tmp_path / f"{part}.parquet")  # fmt: skip
    with pytest.raises(SynopticError, match=r"data\.public=0\.2, and .* has no picture to spare for the server; leave"):
        made(tmp_path, public=0.2, **COLUMN)


def test_inspect_tells_of_it(files: Path) -> None:
    console = Console(file=io.StringIO(), width=120)
    data = made(files)
    show_clients(console, inspect.describe(data), data.summary())
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert f"the server has {data.summary()['pool']} rows of nobody to train on\n" in said
