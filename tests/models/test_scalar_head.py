from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from synoptic.adapters.stack import adapter, leaves, stack_of
from synoptic.core.seeds import generator
from synoptic.models.scalar_head import HEAD, init_head, scalar


def heads(clients: int, hidden: int) -> dict[str, torch.Tensor]:
    made = []
    for k in range(clients):
        one = init_head(6, hidden, generator(k))
        made.append(adapter({name: torch.randn(t.shape, generator=generator(k, name)) for name, t in one.items()}))
    return leaves(stack_of(made))


@pytest.mark.parametrize("hidden", [0, 4])
def test_every_client_has_its_own_head(hidden: int) -> None:
    worn, features = heads(3, hidden), torch.randn(15, 6)
    together = scalar(worn, features)
    for k in range(3):
        rows = features[5 * k : 5 * (k + 1)]
        if hidden:
            rows = F.gelu(rows @ worn["reward/hidden/weight"][k].T + worn["reward/hidden/bias"][k])
        torch.testing.assert_close(together[5 * k : 5 * (k + 1)], rows @ worn[HEAD][k])


@pytest.mark.parametrize("hidden", [0, 4])
def test_a_fresh_head_says_zero_but_can_learn(hidden: int) -> None:
    worn = {name: t[None].requires_grad_() for name, t in init_head(6, hidden, generator(0)).items()}
    found = scalar(worn, torch.randn(5, 6))
    assert found.tolist() == [0.0] * 5
    (grad,) = torch.autograd.grad(found.sum(), worn[HEAD])
    assert grad.abs().max() > 0


def test_without_a_head_all_scores_are_zero() -> None:
    assert scalar({}, torch.randn(4, 6)).tolist() == [0.0] * 4
