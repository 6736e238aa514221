from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synoptic.core import SynopticError
from synoptic.data import DataSpec, build
from synoptic.data.sources import open_source


def fill(folder: Path, classes: dict[str, int], seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for name, count in classes.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)).save(folder / name / f"{i}.png")
    return folder


def test_train_and_test_folders(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"red_panda": 6, "cat": 4})
    fill(tmp_path / "test", {"red_panda": 2, "cat": 1}, seed=1)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no picture")
    data = build(DataSpec(source=f"folder:{tmp_path}", clients=2), 0)
    assert data.class_names == ("cat", "red panda")
    assert (len(data.train), len(data.test)) == (10, 3)
    assert data.train.images.load(np.arange(10)).shape == (10, 5, 5, 3)  # type: ignore[union-attr]


def test_one_level_is_split(tmp_path: Path) -> None:
    fill(tmp_path / "pets", {"cat": 10, "dog": 5})
    opened = open_source(DataSpec(source=f"folder:{tmp_path / 'pets'}"))
    assert np.bincount(opened.test.labels).tolist() == [2, 1]
    assert len(opened.train) == 12


def test_wrong_folders_are_explained(tmp_path: Path) -> None:
    with pytest.raises(SynopticError, match="is no folder"):
        open_source(DataSpec(source=f"folder:{tmp_path / 'nowhere'}"))
    with pytest.raises(SynopticError, match="has no class folder with images"):
        open_source(DataSpec(source=f"folder:{tmp_path}"))
    fill(tmp_path / "train", {"cat": 2})
    with pytest.raises(SynopticError, match="has train/ but no test/"):
        open_source(DataSpec(source=f"folder:{tmp_path}"))


def test_a_class_without_examples_is_named(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"cat": 3, "dog": 3})
    fill(tmp_path / "test", {"cat": 2}, seed=1)
    with pytest.raises(SynopticError, match=r"1 class has no test example \('dog'\)"):
        build(DataSpec(source=f"folder:{tmp_path}", clients=2), 0)
