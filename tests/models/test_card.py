from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from synoptic.data.questions import CUE, KINDS, UNSEEN_MANNERS, UNSEEN_PHRASINGS
from synoptic.data.world import UNSEEN_STYLES
from synoptic.models import card_answers
from synoptic.models.card import write_card
from synoptic.models.card_answers import CONDITIONS, Condition, constant, examples
from synoptic.models.load import base_folder, load_model
from synoptic.models.pretraining import SPECS, TinyVlm, pretrain

SMALL = TinyVlm(width=32, mlp=32, heads=2, kv_heads=1, blocks=1, steps=1, looking=0, batch=4, each=2, warmup=1)


def test_the_card_has_a_row_for_every_condition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card_answers, "ROWS", 12)
    folder = pretrain(tmp_path / "mine", SMALL, 7)
    text = write_card(folder, SMALL, 7)
    assert (folder / "README.md").read_text() == text
    assert text.startswith("# mine\n")
    assert "`synoptic pretrain mine --seed 7`" in text
    assert load_model(str(folder)).fingerprint in text
    assert "steps 1," in text
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert [row[0][2:] for row in rows[1:-1]] == [condition.name for condition in CONDITIONS]
    assert all(len(row) == len(KINDS) + 2 for row in rows)


def test_conditions_cover_what_is_kept_back() -> None:
    assert {style for condition in CONDITIONS for style in condition.styles} >= set(UNSEEN_STYLES)
    assert {name for condition in CONDITIONS for name in condition.phrasings} >= set(UNSEEN_PHRASINGS)
    assert {name for condition in CONDITIONS for name in condition.manners} >= set(UNSEEN_MANNERS)
    assert any(condition.held_out for condition in CONDITIONS)


def test_examples_repeat_and_go_through_the_kinds() -> None:
    images, asked, said = examples(CONDITIONS[0], 12)
    again = examples(CONDITIONS[0], 12)
    assert np.array_equal(images, again[0])
    assert (asked, said) == again[1:]
    assert [answer in ("yes", "no") for answer in said] == [KINDS[row % len(KINDS)] == "check" for row in range(12)]
    _, cued, _ = examples(Condition("cued", manners=("sentence",), cue=True), 12)
    assert all(question.endswith(CUE) for question in cued)


def test_the_constant_answer_is_right_half_the_time_about_checks() -> None:
    shares = dict(zip(KINDS, constant(), strict=True))
    assert 0.5 <= shares["check"] < 0.7
    assert shares["describe"] < 0.1 < shares["texture"] < 0.5


@pytest.mark.parametrize("name", sorted(SPECS))
def test_a_shipped_card_belongs_to_its_checkpoint(name: str) -> None:
    text = (base_folder(name) / "README.md").read_text()
    assert f"Fingerprint `{load_model(name).fingerprint}`." in text
    assert f"steps {SPECS[name]().steps}," in text
