from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from synoptic.core import SynopticError
from synoptic.data import DataSpec, FederatedData, build
from synoptic.data.inspect import class_counts, describe, draw


def made(**spec: Any) -> FederatedData:
    return build(DataSpec.model_validate(spec), 0)


def test_rows_say_what_clients_hold() -> None:
    data = made(source="world", per_class=20, validation=0.2, partition="domain", clients=2)
    rows = describe(data)
    assert [row.client for row in rows] == ["pastel", "blurred"]
    assert [row.domains for row in rows] == [("pastel",), ("blurred",)]
    assert sum(row.train + row.val for row in rows) == len(data.train)
    assert rows[0].classes == 10
    assert rows[0].largest_share == pytest.approx(0.1)
    assert rows[0].test == len(data.clients.test(0))


def test_questions_of_every_client_are_shown() -> None:
    data = made(source="questions", questions={"groups": 2, "train": 30, "test": 10, "rejected": True})
    assert data.train.words is not None
    pairs = set(zip(data.train.words.questions, data.train.words.answers, strict=True))
    for row in describe(data):
        assert len(row.said) == 3
        assert {(said.question, said.answer) for said in row.said} <= pairs
        assert all(said.rejected not in (None, said.answer) for said in row.said)
    assert describe(made(source="digits"))[0].said == ()


def test_counts_agree_with_the_tables() -> None:
    data = made(source="digits", validation=0.1)
    counts = class_counts(data)
    assert np.array_equal(counts.sum(0), np.bincount(data.train.labels, minlength=10))
    assert class_counts(data, "domain").shape == (5, 0)


@pytest.mark.parametrize(("clients", "ending"), [(5, "png"), (150, "svg")])
def test_a_picture_is_written(tmp_path: Path, clients: int, ending: str) -> None:
    path = tmp_path / "new" / f"split.{ending}"
    draw(made(source="digits", clients=clients), path)
    if ending == "png":
        with Image.open(path) as picture:
            assert min(picture.size) > 400
            assert len(set(picture.convert("L").resize((64, 64)).tobytes())) > 20
    else:
        assert "150 clients (100 shown" in path.read_text()


def test_questions_stand_below_the_pictures(tmp_path: Path) -> None:
    path = tmp_path / "split.svg"
    data = made(source="questions", questions={"groups": 2, "train": 6, "test": 6}, validation=0)
    draw(data, path)
    assert data.train.words is not None
    drawn = path.read_text()
    assert sum(answer in drawn for answer in data.train.words.answers if len(answer) < 20) > 5


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SynopticError, match="has no picture ending"):
        draw(made(source="digits"), tmp_path / "split.jpeg")
