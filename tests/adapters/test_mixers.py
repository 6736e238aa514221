"""Mixing the pairs of a site: shares of the token and of the site."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from helpers import lora, net
from synoptic.adapters.binding import Binding, Factors, Mixer, low_rank, mixture, update
from synoptic.adapters.slots import in_slot, together
from synoptic.adapters.stack import adapter, expand
from synoptic.core import SynopticError


def pairs(count: int, mixer: Mixer | None, clients: int = 2) -> list[Factors]:
    rng = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=rng)

    first = Factors(draw(clients, 2, 6), draw(clients, 5, 2), torch.ones(clients), mixer)
    return [first, *(Factors(draw(clients, 2, 6), draw(clients, 5, 2), torch.ones(clients)) for _ in range(count - 1))]


def test_a_token_decides_how_pairs_share_in_its_update() -> None:
    mixer = Mixer(torch.randn(2, 2, 6), torch.randn(2, 2))
    both, x = pairs(2, mixer), torch.randn(6, 4, 6)
    ours = update(x, both)
    for row in range(6):
        k = row // 3
        for token in range(4):
            v = x[row, token]
            share = torch.softmax(mixer.weight_KPD[k] @ v + mixer.bias_KP[k], 0)  # type: ignore[index]
            plain = sum(share[p] * pair.B_KOr[k] @ pair.A_KrD[k] @ v for p, pair in enumerate(both))
            torch.testing.assert_close(ours[row, token], plain, atol=1e-5, rtol=1e-5)


def test_a_gate_of_zeros_gives_every_pair_the_same_share() -> None:
    both, x = pairs(2, Mixer(None, torch.zeros(2, 2))), torch.randn(4, 3, 6)
    torch.testing.assert_close(update(x, both), (low_rank(x, both[0]) + low_rank(x, both[1])) / 2)
    assert float(mixture(x, Mixer(torch.zeros(2, 2, 6), None)).sub(0.5).abs().max()) == 0


def test_a_mixer_of_another_number_of_pairs_is_refused() -> None:
    with pytest.raises(SynopticError, match="a mixer of 2 pairs is worn on a site with 1"):
        update(torch.randn(2, 3, 6), pairs(1, Mixer(None, torch.zeros(2, 2))))


def test_a_mixer_is_found_by_the_name_of_its_site() -> None:
    model = net(torch.nn.Sequential(torch.nn.Linear(6, 6)))
    main, own = adapter(lora("blocks.0.0", 6, 6)), adapter(lora("blocks.0.0", 6, 6, seed=1))
    bias = adapter({"vision/mixer/blocks.0.0/bias": torch.tensor([-40.0, 40.0])})
    x = torch.randn(3, 6)
    binding = Binding(model)

    def worn(one: TensorDict) -> torch.Tensor:
        stack = expand(one, 1)
        with binding.wearing({str(name): tensor for name, tensor in stack.items()}):
            return model(x)

    torch.testing.assert_close(worn(together(main, in_slot(own, "own"), bias)), worn(own))
    assert (worn(main) - worn(own)).abs().max() > 1e-3
