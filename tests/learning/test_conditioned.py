from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict
from torch import Tensor

from aligned import aligning_bench
from rooms import furthest, same
from synoptic.adapters.stack import adapter, expand, leaves
from synoptic.core import SynopticError
from synoptic.core.seeds import generator
from synoptic.learning.answer_policy import AnswerPolicyLoss, AnswerPolicySpec, Judged, step
from synoptic.learning.batches import zip_steps
from synoptic.learning.conditioned import (
    Parts,
    SideBySide,
    narrowed,
    of_objectives,
    parts_of,
    side_by_side,
    step_each,
    widened,
)
from synoptic.learning.optim import no_moments
from synoptic.learning.rollouts import roll_out

STEM = "text/lora/some.q_proj"
SPEC = AnswerPolicySpec(group=3, tokens=4, lr=0.01, temperature=1.5)


def plain(rank: int, seed: int = 0, width: int = 5) -> TensorDict:
    rng = torch.Generator().manual_seed(seed)
    A, B, head = (torch.randn(*shape, generator=rng) for shape in ((rank, width), (3, rank), (3, 3)))
    scale = torch.tensor(2.0)
    return adapter({f"{STEM}/A": A, f"{STEM}/B": B, f"{STEM}/scale": scale, "text/head/weight": head})


def update(one: TensorDict) -> Tensor:
    found: Tensor = one[f"{STEM}/scale"] * one[f"{STEM}/B"] @ one[f"{STEM}/A"]
    return found


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 99))
def test_each_wears_the_shared_ranks_and_its_own(rank: int, objectives: int, own: int, seed: int) -> None:
    """s (B A + B_o A_o), and nobody s B A."""
    one, parts = plain(rank, seed), Parts(objectives, own)
    wide = widened(one, parts, seed)
    assert parts_of(wide, one, own) == parts
    assert same(narrowed(wide, parts), one)
    rng = torch.Generator().manual_seed(seed)
    wide[f"{STEM}/B"] = torch.randn(3, rank + parts.ranks, generator=rng)
    A, B = wide[f"{STEM}/A"], wide[f"{STEM}/B"]
    everybody = of_objectives(wide, parts, [*range(objectives), 77])
    for objective in range(objectives):
        at = rank + own * objective
        expected = 2 * (B[:, :rank] @ A[:rank] + B[:, at : at + own] @ A[at : at + own])
        torch.testing.assert_close(update(everybody[objective]), expected)
    nobodys = 2 * B[:, :rank] @ A[:rank]
    torch.testing.assert_close(update(everybody[objectives]), nobodys)
    torch.testing.assert_close(update(narrowed(wide, parts)), nobodys)
    assert torch.equal(everybody["text/head/weight"][0], one["text/head/weight"])


def test_at_first_all_wear_the_same() -> None:
    one = plain(2)
    wide = widened(one, Parts(3, 2), 0)
    for worn in of_objectives(wide, Parts(3, 2), range(3)):
        torch.testing.assert_close(update(worn), update(one))
    assert wide[f"{STEM}/A"][2:].std() > 0, "or nothing could be learned"


def test_with_no_rank_each_has_as_many_as_are_shared() -> None:
    one = plain(3)
    assert parts_of(widened(one, Parts(2, 3), 0), one, None) == Parts(2, 3)
    head = adapter({"text/head/weight": torch.zeros(2, 2)})
    with pytest.raises(SynopticError, match=r"objectives have LoRA of their own .* and the adapter has none"):
        parts_of(head, head, None)


def test_one_step_of_all_is_the_mean_of_what_each_would_learn() -> None:
    """The gradient of the one adapter, from the losses of each one's plain adapter alone."""
    on, parts = aligning_bench(), Parts(2, 2)
    rows, model = on.pool_rows, on.pool_rows.model
    wide = widened(on.new_adapter(), parts, 0)
    positions_OB = np.array([[0, 3], [5, 1], [2, 7]])
    streams = [generator(0, "one", place) for place in range(3)]
    rollout = roll_out(model, side_by_side(leaves(expand(wide, 1)), parts), rows, positions_OB, SPEC.decoding, streams)
    reward = torch.arange(18.0).view(6, 3).sin()
    inner = AnswerPolicyLoss(model, rows, rollout, Judged(reward), SPEC)
    (batch,) = zip_steps([[np.arange(6)]])
    moving = {name: tensor[None].clone().requires_grad_() for name, tensor in leaves(wide).items()}
    together = SideBySide(inner, parts)(moving, batch)
    assert together.shape == (1, 6)
    chosen = [name for name in moving if not name.endswith("/scale")]
    grads = torch.autograd.grad(together.mean(), [moving[name] for name in chosen])
    alone = [torch.zeros_like(grad) for grad in grads]
    for objective in range(3):
        worn = {name: tensor[objective : objective + 1] for name, tensor in side_by_side(moving, parts).items()}
        (own,) = zip_steps([[np.arange(2) + 2 * objective]])
        value = inner(worn, own).mean() / 3
        for total, grad in zip(alone, torch.autograd.grad(value, [moving[name] for name in chosen]), strict=True):
            total += grad
    for one, two in zip(grads, alone, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)


def test_with_no_objective_but_nobodys_it_is_the_ordinary_step() -> None:
    on, positions = aligning_bench(), np.array([4, 0, 9, 2])
    rows, start = on.pool_rows, on.new_adapter()

    def reward(_: np.ndarray, texts: list[list[str]]) -> Tensor:
        return torch.tensor([[float(len(text)) for text in some] for some in texts])

    one = step(rows.model, start, rows, positions, reward, SPEC, no_moments(), generator(0, "s"))
    two = step_each(rows.model, start, Parts(0, 2), rows, positions[None], reward, SPEC, no_moments(),
                    [generator(0, "s")])  # fmt: skip
    assert furthest(one.adapter, two.adapter) < 1e-5
    assert one.measures == pytest.approx(two.measures, abs=1e-5)
