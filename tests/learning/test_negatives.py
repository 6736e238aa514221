from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tensordict import TensorDict

import answerers
import helpers
from aligned import LORA, aligning_bench, tastes
from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import expand, leaves
from synoptic.core import SynopticError
from synoptic.core.seeds import generator
from synoptic.data.table import ExampleTable
from synoptic.learning.answer_rows import AnswerRows
from synoptic.learning.answering import answer
from synoptic.learning.judges import JudgeSpec
from synoptic.learning.negatives import with_own_negatives
from synoptic.models.answerer.decode import Decoding
from synoptic.models.load import load_model

ROWS = np.arange(12)


def base() -> answerers.Answerer:
    return answerers.base("llava")


def rejected(table: ExampleTable) -> tuple[str, ...]:
    assert table.words is not None and table.words.rejected is not None
    return table.words.rejected


def given() -> ExampleTable:
    return tastes().train


def policy() -> TensorDict:
    """A policy that says other things than its base."""
    return helpers.randomised(base().new_adapter(AdapterSpec.model_validate(LORA), 0), 0, 0.5)


@pytest.mark.parametrize("one", [None, policy()], ids=["base", "policy"])
def test_it_is_what_the_policy_says_at_temperature_one(one: TensorDict | None) -> None:
    """Row by row, against plain sampling."""
    worn = {} if one is None else leaves(expand(one, 1))
    table, words = given(), given().words
    assert words is not None and words.rejected is not None
    found = rejected(with_own_negatives(base(), table, ROWS, 1.0, 3, one))
    longest = max(len(base().tokenizer(text)["input_ids"]) for text in [*words.answers, *words.rejected])
    how = Decoding(1, longest + 1, temperature=1.0)
    for row in ROWS:
        (picture,) = table.signatures(np.array([row]))
        stream = generator(3, "negatives", picture, words.questions[row], words.answers[row])
        torch.rand((), generator=stream)
        alone = AnswerRows(base(), table, ROWS, None)
        said = answer(base(), worn, alone, np.array([[row]]), how, [stream]).texts[0][0]
        assert found[row] == (said if said.strip() else words.rejected[row])


def test_a_policy_says_other_things_than_its_base() -> None:
    both = [rejected(with_own_negatives(base(), given(), ROWS, 1.0, 3, one)) for one in (None, policy())]
    assert both[0] != both[1]


def test_a_row_gets_the_same_wherever_it_stands() -> None:
    table, turned = given(), np.arange(len(given()))[::-1].copy()
    some = rejected(with_own_negatives(base(), table, ROWS, 0.5, 0))
    other = rejected(with_own_negatives(base(), table, turned, 0.5, 0))
    assert [some[row] for row in ROWS] == [other[row] for row in ROWS]
    moved = rejected(with_own_negatives(base(), table.take(turned), np.arange(len(table)), 0.5, 0))
    assert [moved[place] for place in range(len(table))] == [other[row] for row in turned]


def test_the_share_says_how_many_and_the_rest_stay() -> None:
    def changed(share: float) -> float:
        new = rejected(with_own_negatives(base(), table, every, share, 0))
        return float(np.mean([one != old for one, old in zip(new, rejected(table), strict=True)]))

    table, every = given(), np.arange(len(given()))
    assert changed(0.0) == 0
    assert 0.2 < changed(0.4) < 0.6
    assert changed(1.0) > 0.8
    beyond = rejected(with_own_negatives(base(), table, ROWS, 1.0, 0))
    assert beyond[len(ROWS) :] == rejected(table)[len(ROWS) :]


def test_what_it_says_rightly_is_no_negative() -> None:
    table = given()
    assert table.words is not None
    said = rejected(with_own_negatives(base(), table, ROWS, 1.0, 0))
    right = replace(table, words=replace(table.words, answers=said))
    # The draws depend on the answer, so whatever is drawn now must still differ from it.
    again = rejected(with_own_negatives(base(), right, ROWS, 1.0, 0))
    assert all(one.split() != other.split() or one == old
               for one, other, old in zip(again, said, rejected(table), strict=True))  # fmt: skip


def test_reward_models_learn_from_them_and_recipes_without_read_as_before() -> None:
    judges = aligning_bench().judges
    plain, own = JudgeSpec(), JudgeSpec(negatives=1.0)
    assert "negatives" not in plain.model_dump() and own.model_dump()["negatives"] == 1.0
    table = aligning_bench().data.train
    worn = leaves(helpers.randomised(judges.new_adapter(plain), 0, 0.3)[None])
    (kept, first), (same, second) = (judges.scorer(spec, table).pairs(worn, ROWS) for spec in (plain, own))
    torch.testing.assert_close(kept, same)
    assert (first - second).abs().max() > 1e-3


def test_a_base_that_says_nothing_and_a_table_without_pairs_are_refused() -> None:
    table = given()
    assert table.words is not None
    with pytest.raises(SynopticError, match="gives no answers that could be worse ones; leave negatives out"):
        with_own_negatives(load_model(str(helpers.clip_folder())), table, ROWS, 0.5, 0)
    with pytest.raises(SynopticError, match="has no rejected answers"):
        with_own_negatives(base(), replace(table, words=replace(table.words, rejected=None)), ROWS, 0.5, 0)
