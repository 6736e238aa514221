"""Real data sets, where SYNOPTIC_SHARED_DATA names a folder that holds them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from synoptic.data import DataSpec, build, check_overlap

SHARED = os.environ.get("SYNOPTIC_SHARED_DATA", "")
pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(
        not Path(SHARED, "fashion_mnist").is_dir(), reason="SYNOPTIC_SHARED_DATA does not name the sets"
    ),
]


def test_fashion_mnist_stays_encoded() -> None:
    data = build(DataSpec(source=f"parquet:{SHARED}/fashion_mnist", clients=100, novel=0.3), 0)
    assert (len(data.train), len(data.test)) == (42_000, 10_000)
    assert data.prompts()[0] == "a photo of a T-shirt/top."
    assert np.asarray(data.train.images.load(np.arange(4))).shape == (4, 28, 28, 3)


def test_easy_vqa_has_many_questions_for_each_picture() -> None:
    spec = DataSpec(source=f"parquet:{SHARED}/easy_vqa", question="questions", answer="answers")
    data = build(spec, 0)
    assert (len(data.train), len(data.test), data.summary()["pictures"]) == (38_575, 9_673, 4_000)
    assert len(data.class_names) == 13
    assert "yes" in data.class_names
    check_overlap(data)


def test_the_permutations_of_nlvr_stay_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synoptic.data.overlap.DECODED", 0)  # its pictures are large
    path = f"parquet:{SHARED}/nlvr/train.parquet"
    data = build(DataSpec(source=path, question="sentence", answer="label", group="group", partition="iid"), 0)
    assert data.class_names == ("false", "true")
    assert data.train.words is not None
    sentences = data.train.words.questions
    holders: dict[str, set[int]] = {}
    for k in range(len(data.clients)):
        for row in [*data.clients.train(k), *data.clients.val(k)]:
            holders.setdefault(sentences[row], set()).add(k)
    alone = sum(len(clients) == 1 for clients in holders.values())
    assert alone > 0.9 * len(holders), "only generic sentences were collected in several groups"


def test_emoji_domains_are_clients_and_copies_leave_training() -> None:
    data = build(DataSpec(source=f"parquet:{SHARED}/emoji_domains", domain="domain"), 0)
    names = tuple(data.clients.name(k) for k in range(len(data.clients)))
    assert names == ("noto", "blob", "twemoji", "openmoji", "emojitwo", "fxemoji")
    assert data.summary()["duplicates_dropped"] == 12
    check_overlap(data)
