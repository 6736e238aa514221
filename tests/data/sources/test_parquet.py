from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parquets import pictures, write
from synoptic.core import SynopticError
from synoptic.data import DataSpec, build
from synoptic.data.sources import open_source
from synoptic.data.sources import parquet as parquet_module

WORDS = {"label": ["cat", "dog", "T-shirt/top"]}


def both(folder: Path, **columns: Any) -> Path:
    write(folder / "train.parquet", words=WORDS, **columns)
    write(folder / "test.parquet", seed=1, words=WORDS, **columns)
    return folder


def source(path: Path | str, **options: Any) -> Any:
    return open_source(DataSpec.model_validate({"source": f"parquet:{path}", **options}))


def test_a_folder_with_class_names(tmp_path: Path) -> None:
    opened = source(both(tmp_path))
    assert opened.train.class_names == ("cat", "dog", "T-shirt/top")
    assert len(opened.train) == len(opened.test) == 24
    assert opened.train.images.load(np.arange(2)).shape == (2, 4, 4, 3)
    data = build(DataSpec(source=f"parquet:{tmp_path}", clients=3), 0)
    assert data.prompts()[2] == "a photo of a T-shirt/top."


def test_every_way_to_name_files(tmp_path: Path) -> None:
    both(tmp_path)
    one = source(tmp_path)
    split = source(tmp_path / "{split}.parquet")
    named = source(tmp_path / "train.parquet", test_path=str(tmp_path / "test.parquet"))
    globbed = source(tmp_path / "tra*.parquet", test_path=str(tmp_path / "te*.parquet"))
    assert one.fingerprint == split.fingerprint == named.fingerprint == globbed.fingerprint


def test_shards_and_validation(tmp_path: Path) -> None:
    for i in range(3):
        write(tmp_path / "data" / f"train-0000{i}-of-00003.parquet", seed=i, words=WORDS)
    write(tmp_path / "data" / "validation-00000-of-00001.parquet", seed=9, words=WORDS)
    opened = source(tmp_path)
    assert (len(opened.train), len(opened.test)) == (72, 24)


def test_one_file_is_split_four_to_one(tmp_path: Path) -> None:
    path = write(tmp_path / "all.parquet", n=30, words=WORDS)
    opened = source(path)
    assert np.bincount(opened.test.labels).tolist() == [2, 2, 2]
    assert len(opened.train) == 24
    assert opened.fingerprint == source(path).fingerprint


def test_string_labels_are_sorted_over_both_parts(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", n=4, label=["pear", "fig", "pear", "fig"])
    write(tmp_path / "test.parquet", n=4, seed=1, label=["apple", "fig", "pear", "pear"])
    opened = source(tmp_path)
    assert opened.train.class_names == ("apple", "fig", "pear")
    assert opened.train.labels.tolist() == [2, 1, 2, 1]
    assert opened.test.labels.tolist() == [0, 1, 2, 2]


def test_numbers_without_names(tmp_path: Path) -> None:
    write(tmp_path / "all.parquet", n=24, label=[(2, 10)[i % 2] for i in range(24)])
    assert source(tmp_path / "all.parquet").train.class_names == ("2", "10")
    named = source(tmp_path / "all.parquet", class_names=("two", "ten"))
    assert named.train.class_names == ("two", "ten")
    assert np.array_equal(named.train.labels, source(tmp_path / "all.parquet").train.labels)
    with pytest.raises(SynopticError, match=r"class_names has 3 words, but .* has 2 classes"):
        source(tmp_path / "all.parquet", class_names=("a", "b", "c"))


def test_domain_names_from_the_schema(tmp_path: Path) -> None:
    sites = [i % 2 for i in range(24)]
    for part in ("train", "test"):
        write(tmp_path / f"{part}.parquet", seed=len(part), site=sites, words=WORDS | {"site": ["north", "south"]})
    data = build(DataSpec(source=f"parquet:{tmp_path}", domain="site"), 0)
    assert [data.clients.name(k) for k in range(len(data.clients))] == ["north", "south"]
    assert {"domain/north", "domain/south"} <= set(data.tests)
    only = build(DataSpec(source=f"parquet:{tmp_path}", domain="site", domains=("south",)), 0)
    assert only.train.domain_names == ("south",)
    assert len(only.train) == 12


def test_a_column_makes_clients(tmp_path: Path) -> None:
    both(tmp_path, writer=[f"w{i % 4}" for i in range(24)])
    data = build(DataSpec(source=f"parquet:{tmp_path}", partition={"kind": "column", "column": "writer"}), 0)  # type: ignore[arg-type]
    assert [data.clients.name(k) for k in range(4)] == ["w0", "w1", "w2", "w3"]
    assert data.clients.train(1).tolist() == [1, 5, 9, 13, 17, 21]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"label": "kind"}, r"has no column 'kind'; set data.label to one of its columns: image, label"),
        ({"image": "pixels"}, r"set data.image to one of its columns"),
        ({"domain": "site"}, r"set data.domain to one of its columns"),
        ({"partition": {"kind": "column", "column": "who"}}, r"set data.partition.column to one of its columns"),
        ({"image": "label"}, r"holds int64, not images"),
    ],
)
def test_wrong_columns_are_explained(tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SynopticError, match=sentence):
        source(both(tmp_path), **options)


def test_missing_values_are_counted(tmp_path: Path) -> None:
    write(tmp_path / "all.parquet", n=4, label=["a", None, "b", None])
    with pytest.raises(SynopticError, match=r"column 'label' .* is empty in 2 rows, first in row 1"):
        source(tmp_path / "all.parquet")


def test_unlabelled_rows_are_named(tmp_path: Path) -> None:
    write(tmp_path / "all.parquet", n=3, label=[0, -1, 1], words=WORDS)
    with pytest.raises(SynopticError, match=r"row 1 of .* has label=-1, but there are 3 names"):
        source(tmp_path / "all.parquet")


def test_fractions_are_no_classes(tmp_path: Path) -> None:
    write(tmp_path / "all.parquet", n=2, label=[0.5, 1.5])
    with pytest.raises(SynopticError, match="fractional numbers"):
        source(tmp_path / "all.parquet")


def test_a_row_without_image_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "all.parquet", n=6, image=[{"bytes": None, "path": "lost.png"}] * 6)
    with pytest.raises(SynopticError, match=r"row \d of .*all.parquet has neither image bytes nor a file"):
        source(path).train.images.load(np.array([0]))


@pytest.mark.parametrize("keep", [0.5, 0.0])
def test_a_truncated_file_is_one_sentence(tmp_path: Path, keep: float) -> None:
    path = write(tmp_path / "all.parquet")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(SynopticError, match="is truncated or no parquet file") as caught:
        source(path)
    assert "\n" not in str(caught.value)


def test_a_damaged_page_is_one_sentence(tmp_path: Path) -> None:
    path = write(tmp_path / "all.parquet", n=200)
    content = bytearray(path.read_bytes())
    content[200:4000] = bytes(3800)
    path.write_bytes(bytes(content))
    with pytest.raises(SynopticError):
        source(path).train.images.load(np.arange(100))


@pytest.mark.parametrize("path", ["nowhere.parquet", "no/{split}.parquet"])
def test_a_missing_path_is_explained(tmp_path: Path, path: str) -> None:
    with pytest.raises(SynopticError, match="no parquet file matches"):
        source(tmp_path / path)
    with pytest.raises(SynopticError, match=r"has no train\*.parquet"):
        source(tmp_path)


def test_an_undecodable_image_stops_the_build_with_its_row(tmp_path: Path) -> None:
    rows = pictures(24, 0)
    rows[7] = {"bytes": b"not a picture", "path": None}
    write(tmp_path / "train.parquet", words=WORDS, image=rows)
    write(tmp_path / "test.parquet", seed=1, words=WORDS)
    with pytest.raises(SynopticError, match=r"row 7 of .*train.parquet is not a readable image"):
        build(DataSpec(source=f"parquet:{tmp_path}"), 0)


def test_large_files_are_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both(tmp_path / "set")
    small = source(tmp_path / "set")
    monkeypatch.setattr(parquet_module, "IN_MEMORY", 10)
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    mapped = source(tmp_path / "set")
    assert mapped.fingerprint == small.fingerprint
    rows = np.arange(5)
    assert np.array_equal(mapped.train.images.load(rows), small.train.images.load(rows))
