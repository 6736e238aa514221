from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from asking import questions
from helpers import randomised
from rewards import KINDS, reward_bench
from rooms import digits
from synoptic.adapters.stack import expand, leaves
from synoptic.core import SynopticError
from synoptic.data.federated import FederatedData
from synoptic.learning.objectives.preference import bradley_terry, pair_accuracy
from synoptic.learning.preferring import check_pairs, paired
from synoptic.learning.problem import check_suited
from synoptic.learning.rewarding import RewardSpec


def tied(*rows: int) -> FederatedData:
    """Questions of which some training rows, and test row 0, have the same answer twice, but for blanks."""
    data = questions(rejected=True)
    parts = {}
    for name, some in (("train", rows), ("test", (0,) if rows else ())):
        table = getattr(data, name)
        rejected = list(table.words.rejected)
        for row in some:
            rejected[row] = f" {table.words.answers[row]} "
        parts[name] = replace(table, words=replace(table.words, rejected=tuple(rejected)))
    return replace(data, **parts)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", ["train", "test"])
def test_pairs_are_judged_by_their_scores(kind: str, part: str) -> None:
    on = reward_bench(kind)
    stack = expand(randomised(on.new_adapter(), 0), 2)
    positions = np.array([5, 0, 3])
    found = on.problem.score(stack, positions, "global", part)
    scorer = {"train": on.problem.train_scorer, "test": on.problem.test_scorer}[part]
    preferred, rejected = scorer.pairs(leaves(stack), positions)
    assert tuple(found) == on.problem.quantities == ("preference", "loss")
    assert torch.equal(found["preference"], pair_accuracy(preferred, rejected))
    assert torch.equal(found["loss"], bradley_terry(preferred, rejected))
    assert found["loss"].shape == (2, 3)


def test_rows_of_several_splits_are_scored_as_each_split_alone() -> None:
    on = reward_bench()
    stack = expand(randomised(on.new_adapter(), 0), 2)
    splits = {"global": np.arange(24), "domain/group-1": np.arange(8, 16), "odd": np.array([23, 2])}
    found = on.problem.score_all(stack, splits)
    for split, positions in splits.items():
        torch.testing.assert_close(found[split]["loss"], on.problem.score(stack, positions, split)["loss"],
                                   rtol=0, atol=1e-4)  # fmt: skip
    assert on.problem.score_all(stack, {}) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_the_adapter_has_a_head_and_needs_nothing_else(kind: str) -> None:
    on = reward_bench(kind, adapter={})
    assert list(leaves(on.new_adapter())) == ["reward/head/weight"]
    deep = reward_bench(kind, adapter={}, reward=RewardSpec(hidden=4))
    assert set(leaves(deep.new_adapter())) == {"reward/head/weight", "reward/hidden/weight", "reward/hidden/bias"}


def test_equal_answers_are_refused_and_counted() -> None:
    with pytest.raises(SynopticError, match=r"^3 pairs have the same answer twice, such as row 4 of questions/train; "
                                            r"leave them out of the data, or set method.ties=drop\.$"):  # fmt: skip
        check_pairs(tied(4, 21), RewardSpec())
    check_pairs(questions(rejected=True), RewardSpec())


def test_equal_answers_are_left_out_where_one_asks_for_it() -> None:
    data, spec = tied(4, 21), RewardSpec(ties="drop")
    kept = paired(data, spec)
    held = {*kept.clients.train_rows.positions.tolist(), *kept.clients.val_rows.positions.tolist()}
    assert held == {*range(60)} - {4, 21}
    assert 0 not in kept.tests["global"] and len(kept.tests["global"]) == 23
    for k in range(3):
        assert set(kept.clients.train(k)) == set(data.clients.train(k)) - {4, 21}
        assert set(kept.clients.test(k)) == set(data.clients.test(k)) - {0}
    untied = questions(rejected=True)
    assert paired(untied, spec) is untied


def test_data_without_pairs_are_refused() -> None:
    sentence = r"^a reward model learns from pairs of answers, and digits/train has classes; set data=questions data.q"
    with pytest.raises(SynopticError, match=sentence):
        check_suited(reward_bench("encoder").model, digits(), RewardSpec())
    with pytest.raises(SynopticError, match="and questions/train has answers and no rejected ones"):
        check_suited(reward_bench().model, questions(), RewardSpec())
