"""The attacks of the privacy page, on uploads of which the truth is known."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rooms import world

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.privacy import (
    ATTACKS,
    BEGIN,
    END,
    PAGE,
    View,
    attack,
    hidden,
    membership,
    pixels,
    pointed_out,
    reconstruction,
    table,
    told,
    with_table,
)

DATA = world(2, 20)
MINE = DATA.clients.train(0)
PUBLIC = np.flatnonzero(np.isin(DATA.test.labels, DATA.base_classes))


def view(noise: float) -> View:
    """Uploads that are the pictures themselves along the ten directions in which public ones differ most, and noise."""
    private, public = pixels(DATA.train, MINE), pixels(DATA.test, PUBLIC)
    _, _, directions = np.linalg.svd(public - public.mean(0), full_matrices=False)
    members, others = (x @ directions[:10].T for x in (private, public))
    members, others = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (members, others))
    sent = members + noise * np.random.default_rng(1).normal(size=members.shape)
    return View(sent, DATA.train.labels[MINE], members, others, MINE, PUBLIC)


def test_whatever_is_sent_as_it_is_gives_every_image_away_and_noise_hides_it() -> None:
    open_, hidden_ = view(0.0), view(100.0)
    assert pointed_out(open_) == 1.0
    assert membership(DATA, open_) == 1.0
    assert pointed_out(hidden_) < 0.5
    assert 0.3 < membership(DATA, hidden_) < 0.7
    assert reconstruction(DATA, open_) > 0.05 > reconstruction(DATA, hidden_)


def test_an_attribute_that_was_sent_is_told() -> None:
    textures = hidden(DATA)["texture"]
    one_hot = [np.eye(4)[labels[rows]] for labels, rows in zip(textures, (PUBLIC, MINE), strict=True)]
    seen = replace(view(0.0), images_UE=one_hot[1], others_mE=one_hot[0], members_nE=one_hot[1])
    assert told(DATA, seen, *textures) == 1.0
    blank = replace(seen, images_UE=np.zeros_like(one_hot[1]))
    assert told(DATA, blank, *textures) < 0.6


def test_a_class_mean_stands_for_all_images_of_its_class() -> None:
    seen = view(0.0)
    labels = np.unique(seen.labels_U)
    means = np.stack([seen.images_UE[seen.labels_U == label].mean(0) for label in labels])
    prototype = replace(seen, images_UE=means, labels_U=labels)
    assert pointed_out(prototype) <= len(labels) / len(MINE)
    assert reconstruction(DATA, prototype) < reconstruction(DATA, seen)
    assert set(ATTACKS) < set(attack(DATA, prototype))


@pytest.mark.parametrize("rounds", [1, 2])
def test_the_table_stands_between_its_marks(rounds: int) -> None:
    row = dict.fromkeys(ATTACKS, 0.5) | {"texture_chance": 0.25, "style_chance": 0.5}
    rows = [{"shots": shots, "uplink": uplink, "seed": seed, **row}
            for shots in (1, 16, None) for uplink in ("embeddings", "prototypes") for seed in range(2)]  # fmt: skip
    page = "head\n" + BEGIN + END + "\ntail\n"
    for _ in range(rounds):
        page = with_table(page, rows)
    assert page.startswith("head\n")
    assert page.endswith("tail\n")
    assert page.count("| 16 | prototypes | 50.0 ± 0.0 |") == 1
    assert len(table(rows)) == 2 + 6 + 2


def test_the_page_shows_the_committed_results() -> None:
    from benchmarks.privacy import RESULTS

    from synoptic.core.files import read_json

    page = PAGE.read_text(encoding="utf-8")
    assert page == with_table(page, read_json(RESULTS)["rows"]), "run: python -m benchmarks.privacy --page"
