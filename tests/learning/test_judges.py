from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tensordict import TensorDict

import answerers
import helpers
from aligned import aligning_bench, tastes
from aligned_script import likes_short
from synoptic.adapters.stack import leaves, stack_of
from synoptic.core import SynopticError
from synoptic.data.parcel import pack
from synoptic.data.table import ExampleTable
from synoptic.learning.judges import Judges, JudgeSpec
from synoptic.learning.rewarding import Scorer
from synoptic.models.load import load_model

LORA = {"text": {"lora": {"rank": 2, "layers": 1}}}
ROWS = np.array([3, 0, 7, 7])
TEXTS = [["red circle", "a star"], ["no", "it is blue"], ["yes .", "red"], ["yes .", "red"]]
CLIP = str(helpers.clip_folder())
KINDS = {
    "the policy's base": JudgeSpec.model_validate({"adapter": LORA}),
    "a dual encoder": JudgeSpec.model_validate({"base": CLIP, "hidden": 4, "adapter": LORA}),
    "another generative model": JudgeSpec.model_validate({"base": str(answerers.folder("smolvlm")), "heard": "both"}),
}


def judges() -> Judges:
    return aligning_bench().judges


def pool() -> ExampleTable:
    table = tastes().pool
    assert table is not None
    return table


def stack(of: Judges, spec: JudgeSpec, clients: int = 3) -> TensorDict:
    return stack_of([helpers.randomised(of.new_adapter(spec), seed, 0.2) for seed in range(clients)])


@pytest.mark.parametrize("what", KINDS)
def test_stacked_is_one_by_one_and_what_a_scorer_of_that_base_says(what: str) -> None:
    of, spec = judges(), KINDS[what]
    worn = stack(of, spec)
    together = of.scores(spec, leaves(worn), pool(), ROWS, TEXTS)
    assert together.shape == (3, 4, 2)
    torch.testing.assert_close(together[:, 2], together[:, 3], rtol=0, atol=1e-5)
    own = load_model(str(answerers.folder("llava")) if spec.base is None else spec.base)
    plain = Scorer(own, pool(), np.arange(len(pool())), spec, None)
    for client in range(3):
        alone = leaves(worn[client : client + 1])
        torch.testing.assert_close(of.scores(spec, alone, pool(), ROWS, TEXTS)[0], together[client], rtol=0, atol=1e-4)
        torch.testing.assert_close(plain.scores(alone, ROWS, TEXTS)[0], together[client], rtol=0, atol=1e-4)
    assert together.std() > 1e-3


@pytest.mark.parametrize("what", KINDS)
def test_a_fresh_judge_says_the_same_to_everything(what: str) -> None:
    of, spec = judges(), KINDS[what]
    fresh = stack_of([of.new_adapter(spec)])
    assert of.scores(spec, leaves(fresh), pool(), ROWS, TEXTS).abs().max() == 0


def test_a_script_needs_nothing_and_answers_once_for_all() -> None:
    of, spec = judges(), JudgeSpec(script="aligned_script:likes_short")
    found = of.scores(spec, {}, pool(), ROWS, TEXTS)
    assert found.tolist() == [[likes_short(None, "", texts) for texts in TEXTS]]
    with pytest.raises(SynopticError, match="aligned_script:likes_short has no base to train"):
        of.new_adapter(spec)


def test_a_scorer_is_made_once_for_each_kind_and_table() -> None:
    of, spec, train = judges(), JudgeSpec(), tastes().train
    one = of.scorer(spec, pool())
    assert of.scorer(JudgeSpec(), pool()) is one
    assert len({id(one), id(of.scorer(JudgeSpec(hidden=3), pool())), id(of.scorer(spec, train))}) == 3


def test_the_same_parcel_is_opened_once_for_all_clients() -> None:
    of, parcel = judges(), pack(pool())
    shown = of.shown(parcel)
    assert of.shown(pack(pool())) is shown
    assert of.shown(pack(pool().take(np.arange(3)))) is not shown
    worn = leaves(stack(of, spec := JudgeSpec()))
    torch.testing.assert_close(of.scores(spec, worn, shown, ROWS, TEXTS), of.scores(spec, worn, pool(), ROWS, TEXTS),
                               rtol=0, atol=1e-5)  # fmt: skip


def test_a_judge_is_a_function_or_has_a_base() -> None:
    with pytest.raises(ValidationError, match="give base or script"):
        JudgeSpec(base="tiny-clip", script="a:b")
