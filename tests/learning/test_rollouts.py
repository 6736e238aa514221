from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from answerers import base
from rolling import HOW, KINDS, ROWS, SPECS, odd_table, plain_log_p, roll, seen, worn
from synoptic.core import SynopticError
from synoptic.core.seeds import generator
from synoptic.learning.answer_rows import AnswerRows
from synoptic.learning.answering import answer
from synoptic.learning.rollouts import log_probabilities, roll_out
from synoptic.models.answerer.decode import Decoding

SOME = np.array([[5, 0, 3, 3, 6]])


@pytest.mark.parametrize("family", KINDS)
@pytest.mark.parametrize("what", SPECS)
def test_new_is_old_where_the_weights_agree(family: str, what: str) -> None:
    model, stack = base(family), worn(family, what)
    for rows in (seen(family), seen(family, cached=False)):
        rollout = roll(family, stack, rows, SOME)
        found = log_probabilities(model, stack, rows, rollout, np.arange(5))
        assert torch.allclose(found, rollout.log_old, atol=1e-5)
        assert not found[~rollout.counted].any() and not rollout.log_old[~rollout.counted].any()
        some = log_probabilities(model, stack, rows, rollout, np.array([4, 1, 1]))
        assert torch.allclose(some, rollout.log_old[[4, 1, 1]], atol=1e-5)


@pytest.mark.parametrize(("family", "what"), [("llava", "all"), ("qwen2_vl", "upper blocks"), ("smolvlm", "all")])
def test_they_are_those_of_merged_weights_in_the_librarys_model(family: str, what: str) -> None:
    rows, stack = seen(family), worn(family, what)
    rollout = roll(family, stack, rows, SOME)
    alone = {name: tensor[0] for name, tensor in stack.items()}
    with torch.no_grad():
        for tensors, own in ((alone, stack), ({}, {})):
            found = log_probabilities(base(family), own, rows, rollout, np.arange(5))
            expected = plain_log_p(family, tensors, rows, rollout)
            known = ~expected.isnan()
            assert known.float().mean() > 0.2
            assert torch.allclose(found[known], expected[known], atol=1e-4)


@pytest.mark.parametrize("family", KINDS)
@pytest.mark.parametrize("what", ["upper blocks", "all"])
def test_stacked_equals_sequential(family: str, what: str) -> None:
    model, stack, rows = base(family), worn(family, what, 2), seen(family)
    positions = np.array([[0, 1, 2], [4, 7, 6]])
    together = roll(family, stack, rows, positions)
    found = log_probabilities(model, stack, rows, together, np.arange(6))
    for k in range(2):
        own = {name: tensor[k : k + 1] for name, tensor in stack.items()}
        mine = replace(together, ids=together.ids[3 * k : 3 * k + 3], length=together.length[3 * k : 3 * k + 3],
                       positions=positions[k], hidden=None)  # fmt: skip
        alone = log_probabilities(model, own, rows, mine, np.arange(3))
        assert torch.allclose(found[3 * k : 3 * k + 3], alone, atol=1e-5)
    assert roll(family, {n: t[:1] for n, t in stack.items()}, rows, positions[:1]).texts == together.texts[:3]


@pytest.mark.parametrize("what", ["last block", "upper blocks", "all blocks"])
def test_another_stack_is_judged_from_what_was_kept_or_from_the_bottom(what: str) -> None:
    model, rows = base(), seen()
    rollout = roll("llava", worn(what="upper blocks"), rows, SOME)
    other = worn(what=what, clients=3)
    other = {name: tensor[2:] for name, tensor in other.items()}
    kept, anew = (log_probabilities(model, other, rows, one, np.arange(5))
                  for one in (rollout, replace(rollout, hidden=None)))  # fmt: skip
    assert torch.allclose(kept, anew, atol=1e-5)
    assert (kept - rollout.log_old).abs().max() > 1e-2


def test_frozen_blocks_and_pictures_are_not_run_again() -> None:
    model, stack, rows = base(), worn(what="last block"), seen()
    rollout = roll("llava", stack, rows, SOME)
    below: list[int] = []
    hooks = [model.model.get_submodule(path).register_forward_pre_hook(lambda *_: below.append(1))
             for path in (*model.decoder.blocks[:2], *model.family.vision_blocks)]  # fmt: skip
    try:
        for own in (stack, {}, worn(what="last block", clients=2)):
            log_probabilities(model, {n: t[-1:] for n, t in own.items()}, rows, rollout, np.arange(5))
    finally:
        for hook in hooks:
            hook.remove()
    assert not below
    assert rollout.depth == 2


def test_a_trained_image_side_leaves_nothing_to_keep_and_learns() -> None:
    model, rows = base(), seen()
    stack = {name: tensor.requires_grad_() for name, tensor in worn(what="all").items()}
    rollout = roll("llava", stack, rows, SOME)
    assert rollout.hidden is None and rollout.depth is None
    log_probabilities(model, stack, rows, rollout, np.arange(5)).sum().backward()
    for tower in ("vision", "connector", "text"):
        grads = [t.grad for n, t in stack.items() if n.startswith(f"{tower}/") and n.endswith("/A")]
        assert any(grad is not None and bool(grad.abs().max() > 1e-6) for grad in grads), tower


def test_a_rollout_is_what_the_model_answers() -> None:
    model, stack, rows = base(), worn(), seen()
    how = Decoding(samples=3, tokens=5, temperature=0.8, top_p=0.9)
    rollout = roll("llava", stack, rows, SOME, how)
    said = answer(model, stack, rows, SOME, how, [generator(0, "roll", 0)])
    assert rollout.texts == said.texts
    assert torch.equal(rollout.ids, said.ids) and torch.equal(rollout.length, said.length)
    assert rollout.positions.tolist() == SOME[0].tolist()
    assert len(rollout) == 5
    assert torch.equal(rollout.counted.sum(-1), rollout.length)
    # Before the nucleus is cut out, at the temperature of the draw.
    assert torch.allclose(rollout.log_old, log_probabilities(model, stack, rows, rollout, np.arange(5)), atol=1e-5)
    assert (rollout.log_old - said.log_probability).abs().max() > 1e-2


def test_a_half_base_draws_and_judges_nearly_the_same() -> None:
    model, stack = base("llava", "bfloat16"), worn()
    rows = AnswerRows(model, odd_table(), ROWS, None)
    rollout = roll_out(model, stack, rows, SOME, HOW, [generator(0, "roll", 0)])
    found = log_probabilities(model, stack, rows, rollout, np.arange(5))
    assert found.dtype == torch.float32
    assert (found - rollout.log_old).abs().max() < 0.2


def test_greedy_answers_are_no_rollout() -> None:
    with pytest.raises(SynopticError, match="temperature 0 draws the same answer each time; set a temperature above 0"):
        roll("llava", {}, seen(), SOME, Decoding(samples=2, tokens=3))
