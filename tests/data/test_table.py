from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synoptic.core import SynopticError
from synoptic.data import ArrayImages, EncodedImages, ExampleTable, FileImages


def encoded(array: np.ndarray, kind: str = "PNG", mode: str | None = None) -> bytes:
    stream = io.BytesIO()
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(stream, kind)
    return stream.getvalue()


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 9, 7, 3), dtype=np.uint8)


@pytest.fixture
def table(pixels: np.ndarray) -> ExampleTable:
    labels, domains = np.array([0, 1, 0, 1, 0, 1]), np.array([0, 0, 0, 1, 1, 1])
    return ExampleTable("toy/train", ArrayImages(pixels), labels, ("cat", "dog"), domains, ("day", "night"))


def test_all_stores_give_the_same_pixels(pixels: np.ndarray, tmp_path: Path) -> None:
    contents = [encoded(picture) for picture in pixels]
    paths = tuple(tmp_path / f"{i}.png" for i in range(6))
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    rows = np.array([4, 1, 1])
    for store in (ArrayImages(pixels), EncodedImages(contents), FileImages(paths)):
        assert len(store) == 6
        assert np.array_equal(store.load(rows), pixels[rows])
        assert store.signatures(rows)[1] == store.signatures(rows)[2] != store.signatures(rows)[0]
        assert len(store.fingerprint) == 16


def test_mixed_sizes_stay_pictures(pixels: np.ndarray) -> None:
    store = EncodedImages([encoded(pixels[0]), encoded(pixels[1, :5])])
    loaded = store.load(np.array([0, 1]))
    assert isinstance(loaded, list)
    assert [picture.size for picture in loaded] == [(7, 9), (7, 5)]


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_every_picture_becomes_rgb(pixels: np.ndarray, mode: str) -> None:
    loaded = EncodedImages([encoded(pixels[0], mode=mode)]).load(np.array([0]))
    assert np.asarray(loaded).shape == (1, 9, 7, 3)


def test_an_unreadable_picture_names_its_row(pixels: np.ndarray) -> None:
    good = encoded(pixels[0])
    store = EncodedImages([good, good[:40], b"no picture"], "birds.parquet")
    for row in (1, 2):
        with pytest.raises(SynopticError, match=rf"row {row} of birds.parquet is not a readable image"):
            store.load(np.array([row]))


def test_a_lost_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SynopticError, match=r"gone\.png cannot be read"):
        FileImages((tmp_path / "gone.png",)).load(np.array([0]))


def test_take_selects_rows_everywhere(table: ExampleTable, pixels: np.ndarray) -> None:
    some = table.take(np.array([5, 0, 3])).take(np.array([2, 0]))
    assert some.labels.tolist() == [1, 1]
    assert some.domains is not None
    assert some.domains.tolist() == [1, 1]
    assert np.array_equal(some.images.load(np.array([0, 1])), pixels[[3, 5]])
    assert len(some) == len(some.images) == 2


def test_fingerprint_is_of_content_and_selection(table: ExampleTable, pixels: np.ndarray) -> None:
    twin = ExampleTable(
        "other", ArrayImages(pixels.copy()), table.labels, table.class_names, table.domains, table.domain_names
    )
    assert twin.fingerprint == table.fingerprint
    changed = pixels.copy()
    changed[0, 0, 0, 0] ^= 1
    for other in (
        replace(table, images=ArrayImages(changed)),
        replace(table, labels=1 - table.labels),
        replace(table, class_names=("cat", "cow")),
        replace(table, domains=None, domain_names=()),
        table.take(np.array([0, 1, 2])),
    ):
        assert other.fingerprint != table.fingerprint


def test_content_hashes_see_through_encodings(pixels: np.ndarray) -> None:
    labels = np.zeros(2, dtype=np.int64)
    png = ExampleTable("a", EncodedImages([encoded(p) for p in pixels[:2]]), labels, ("x",))
    bmp = ExampleTable("b", EncodedImages([encoded(p, "BMP") for p in pixels[:2]]), labels, ("x",))
    rows = np.arange(2)
    assert png.content_hashes(rows) == bmp.content_hashes(rows)
    assert png.images.signatures(rows) != bmp.images.signatures(rows)
    assert len(set(png.content_hashes(rows))) == 2


@pytest.mark.parametrize("labels", [[0, 1, 2], [0, -1, 1]])
def test_labels_must_have_names(pixels: np.ndarray, labels: list[int]) -> None:
    with pytest.raises(SynopticError, match="there are 2 label names"):
        ExampleTable("toy", ArrayImages(pixels[:3]), np.array(labels), ("cat", "dog"))


def test_one_label_per_image(pixels: np.ndarray) -> None:
    with pytest.raises(SynopticError, match="6 images but 2 labels"):
        ExampleTable("toy", ArrayImages(pixels), np.array([0, 1]), ("cat", "dog"))
