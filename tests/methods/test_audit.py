from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import beyond_script
from aligned import aligning, aligning_bench, tastes
from rooms import serve
from synoptic.core import SynopticError
from synoptic.data.federated import build
from synoptic.data.spec import DataSpec
from synoptic.data.words import Words
from synoptic.experiment.recipe import load_recipe
from synoptic.federation.server import RoundFailed, Server
from synoptic.learning.liars import contrary
from synoptic.methods.audit import pairs_of, trust
from synoptic.methods.mor import MoR

JUDGES = {"honest": ["honest", "honest_too", "honest"], "liar": ["honest", "honest_too", "liar"],
          "knows": ["honest", "honest_too", "knows_an_audit"]}  # fmt: skip
ROWS = np.arange(6)
SAID = [[f"a {word} circle", f"a a {word} {word}", "it is", f"{word} {word} {word} it it"]
        for word in ("red", "blue", "green", "pink", "brown", "white")]  # fmt: skip


def audited(kind: str, **settings: Any) -> tuple[MoR, Server]:
    """A server with three scoring functions, right before its policy's first step."""
    judges = [{"script": f"beyond_script:{name}"} for name in JUDGES[kind]]
    method = aligning(MoR, **{"router": "uniform", "judges": judges, "reward_rounds": 0, **settings})
    server = serve(method, aligning_bench())
    method.begin(server)
    method.introduce(server)
    return method, server


def agreement(method: MoR, server: Server) -> float:
    """Correlation of the rewards of some answers with what honest clients think of them, within each question."""
    reward = method._judged(server, ROWS, SAID, set()).reward.double()
    true = torch.tensor([beyond_script.honest(None, "", texts) for texts in SAID]).double()
    both = torch.stack([(one - one.mean(1, keepdim=True)).flatten() for one in (reward, true)])
    return float(torch.corrcoef(both)[0, 1])


@given(st.integers(0, 50), st.integers(0, 50))
def test_trust_is_the_equation(right: int, wrong: int) -> None:
    count = right + wrong
    expected = max(0.0, 2 * right / count - 1) if count else 1.0
    found = trust(torch.tensor([[float(right)], [float(count)]], dtype=torch.float64))
    assert found.item() == pytest.approx(expected)


def test_a_liar_loses_its_weight_and_nobody_else_does() -> None:
    method, server = audited("liar", audit=4)
    method.examine(server)
    method.examine(server)
    assert server.state.audit.tolist() == [[8, 8, 0], [8, 8, 8]]
    assert method.trust(server).tolist() == [1, 1, 0]
    assert server.log["least_trust"] == 0
    honest, _ = audited("honest")
    weights = torch.tensor([[0.5, 0.5, 0.0]]).expand(6, -1).double()
    honest.weigh = lambda *_: weights  # type: ignore[method-assign]
    same = honest._judged(audited("honest")[1], ROWS, SAID, set()).reward
    torch.testing.assert_close(method._judged(server, ROWS, SAID, set()).reward, same)


def test_with_one_liar_of_three_an_audit_and_a_median_keep_the_reward_true_and_a_mean_does_not() -> None:
    honest = agreement(*audited("honest"))
    mean, median = (agreement(*audited("liar", fuse=fuse)) for fuse in ("scores", "median"))
    method, server = audited("liar", audit=4)
    method.examine(server)
    assert min(honest, median, agreement(method, server)) > 0.95
    assert mean < 0.9


def test_who_knows_an_audit_when_it_sees_one_is_not_found_out() -> None:
    """The limit that the page tells."""
    method, server = audited("knows", audit=4)
    method.examine(server)
    assert method.trust(server).tolist() == [1, 1, 1]


def test_who_says_the_same_to_everything_knows_nothing() -> None:
    method, server = audited("honest", audit=4, judges=[{}, {"script": "aligned_script:constant"}, {}])
    method.examine(server)
    assert method.trust(server)[1] == 0


def test_when_nobody_can_be_believed_the_round_has_failed() -> None:
    method, server = audited("honest", audit=4, judges=[{"script": "beyond_script:liar"}])
    with pytest.raises(RoundFailed, match="nobody is left to score"):
        method.align(server)


def test_audits_come_in_every_round_and_are_questions_like_any_other() -> None:
    method, server = audited("liar", audit=4)
    for t in range(2):
        server.round = t
        method.align(server)
    assert server.state.audit[1].tolist() == [8, 8, 8]


def test_a_worse_answer_is_a_stammer_or_another_questions() -> None:
    words = Words(("q",) * 4, ("yes", "yes", "no", "a red circle"))
    rows = np.array([0, 2, 3])
    assert pairs_of(words, rows, "stammered")[2] == ["a red circle", "a a red red circle circle"]
    assert pairs_of(words, rows, "other") == [["yes", "no"], ["no", "a red circle"], ["a red circle", "yes"]]


@pytest.mark.parametrize("conflict", [0, 90, 180])
def test_every_taste_prefers_the_right_answer_to_a_stammer_and_the_liar_of_the_claims_does_not(conflict: int) -> None:
    asked = {"train": 4, "test": 4, "tastes": {"conflict": conflict}, "public": 60, "public_test": 4}
    pool = build(DataSpec.model_validate({"source": "questions", "clients": 3, "questions": asked}), 0).pool
    assert pool is not None and pool.words is not None and pool.words.gold is not None
    rows = np.arange(len(pool))
    right, worse = (list(texts) for texts in zip(*pairs_of(pool.words, rows, "stammered"), strict=True))
    gold = pool.words.gold
    assert (gold.utilities(rows, right) > gold.utilities(rows, worse)).all()
    for pair in zip(right, worse, strict=True):
        first, second = contrary(None, "what is it?", pair)  # type: ignore[arg-type]
        assert second > first


def test_bad_input() -> None:
    data = tastes()
    assert data.pool is not None and data.pool.words is not None
    same = replace(data.pool.words, answers=("yes",) * len(data.pool), gold=None)
    alike = replace(data, pool=replace(data.pool, words=same))
    method = aligning(MoR, audit={"pairs": 4, "wrong": "other"})
    with pytest.raises(SynopticError, match="all 12 questions of the server have the same answer, so none is wrong"):
        method.begin(serve(method, aligning_bench(alike)))
    with pytest.raises(SynopticError, match=r"'method\.audit\.pairs' cannot be 0"):
        load_recipe("mor", ["method.audit=0"])
