from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from synoptic.core import SynopticError
from synoptic.data import DataSpec
from synoptic.data.sources import open_source

datasets = pytest.importorskip("datasets")


def part(n: int, seed: int) -> Any:
    rows = []
    for array in np.random.default_rng(seed).integers(0, 256, (n, 4, 4, 3), dtype=np.uint8):
        stream = io.BytesIO()
        Image.fromarray(array).save(stream, "PNG")
        rows.append({"bytes": stream.getvalue(), "path": None})
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    return datasets.Dataset.from_dict({"image": rows, "label": [i % 2 for i in range(n)]}, features=features)


def answer(monkeypatch: pytest.MonkeyPatch, result: Any) -> None:
    def load_dataset(name: str, configuration: str | None) -> Any:
        if isinstance(result, Exception):
            raise result
        assert (name, configuration) == ("owner/pets", "small")
        return result

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)


def test_splits_and_names(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, {"train": part(8, 0), "validation": part(4, 1)})
    opened = open_source(DataSpec(source="hub:owner/pets:small"))
    assert opened.train.class_names == ("cat", "dog")
    assert (len(opened.train), len(opened.test)) == (8, 4)
    assert np.asarray(opened.train.images.load(np.arange(2))).shape == (2, 4, 4, 3)


def test_labels_answer_an_instruction(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, {"train": part(20, 0)})
    opened = open_source(DataSpec(source="hub:owner/pets:small", instruction="what is it?", answer="label"))
    assert opened.train.words is not None
    assert (opened.train.words.questions[0], opened.train.words.answers[0]) == ("what is it?", "cat")
    assert (len(opened.train), len(opened.test)) == (18, 2)


@pytest.mark.parametrize(
    ("problem", "sentence"),
    [
        (ConnectionError("no route"), "the hub cannot be reached for owner/pets"),
        (FileNotFoundError("none"), "there is no data set owner/pets on the hub or in the cache"),
        (ValueError("Unknown config.\nAvailable: a"), r"owner/pets cannot be loaded \(Unknown config\)"),
        ({"extra": None}, "owner/pets has no train split, only extra"),
    ],
)
def test_problems_are_one_sentence(monkeypatch: pytest.MonkeyPatch, problem: Any, sentence: str) -> None:
    answer(monkeypatch, problem)
    with pytest.raises(SynopticError, match=sentence):
        open_source(DataSpec(source="hub:owner/pets:small"))
