from __future__ import annotations

import torch
from tensordict import TensorDict

from helpers import clients, randomised
from synoptic.adapters.algebra import agreement, dense, difference, lora_stems
from synoptic.adapters.stack import leaves, stack_of

SITE = ("blocks.0.q_proj", 6, 5)


def test_a_difference_is_the_difference_of_products() -> None:
    stack, one = clients(3, SITE, rank=2, scale=0.5), clients(1, SITE, rank=2, scale=0.5, seed=9)[0]
    apart = difference(stack, one)
    (stem,) = lora_stems(stack)
    for k in range(3):
        torch.testing.assert_close(dense(apart[k], stem), dense(stack[k], stem) - dense(one, stem))


def test_tensors_that_are_no_lora_pairs_are_subtracted() -> None:
    stack = TensorDict({"vision/head/weight": torch.arange(8.0).view(2, 2, 2)}, batch_size=[2])
    apart = difference(stack, stack[0])
    assert apart["vision/head/weight"].tolist() == [[[0, 0], [0, 0]], [[4, 4], [4, 4]]]


def test_agreement_is_the_mean_cosine_of_pairs() -> None:
    one = clients(1, SITE)[0]
    start = randomised(one, 5)
    assert abs(agreement(difference(stack_of([one, one, one]), start)) - 1) < 1e-6
    away, zero = (
        TensorDict({name: t if not name.endswith("/B") else sign * t for name, t in leaves(one).items()}, [])
        for sign in (-1, 0)
    )
    assert abs(agreement(difference(stack_of([one, away]), zero)) + 1) < 1e-6
    alone = agreement(difference(stack_of([one]), start))
    assert alone != alone, "one client has nobody to agree with"
