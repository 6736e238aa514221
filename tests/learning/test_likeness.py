from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from synoptic.learning.likeness import linear_cka, mean_cka


def seen(seed: int, encoders: int = 3, images: int = 7, width: int = 4) -> torch.Tensor:
    return torch.randn(encoders, images, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_kernels(x: np.ndarray, y: np.ndarray) -> float:  # type: ignore[type-arg]
    """The definition with n x n kernels: normalised inner product of centred similarity matrices."""
    n = len(x)
    centre = np.eye(n) - 1 / n
    k, m = centre @ x @ x.T @ centre, centre @ y @ y.T @ centre
    return float((k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum()))


@given(st.integers(0, 1000))
def test_it_is_the_definition_with_kernels(seed: int) -> None:
    three = seen(seed)
    found = linear_cka(three)
    for i in range(3):
        for j in range(3):
            assert float(found[i, j]) == pytest.approx(by_kernels(three[i].numpy(), three[j].numpy()), abs=1e-9)
    pairs = [(0, 1), (0, 2), (1, 2)]
    assert mean_cka(three) == pytest.approx(sum(float(found[pair]) for pair in pairs) / 3)


@given(st.integers(0, 1000), st.floats(0.1, 10))
def test_turning_scaling_and_moving_change_nothing(seed: int, scale: float) -> None:
    one, other = seen(seed, 2)
    turn = torch.linalg.qr(seen(seed + 1, 1, 4, 4)[0])[0]
    plain = linear_cka(torch.stack([one, other]))
    moved = linear_cka(torch.stack([one @ turn * scale + 3.0, other]))
    assert torch.allclose(plain, moved, atol=1e-9)
    assert float(linear_cka(torch.stack([one, one @ turn]))[0, 1]) == pytest.approx(1)


def test_who_says_the_same_of_everything_is_alike_to_none() -> None:
    found = linear_cka(torch.stack([seen(0, 1)[0], torch.ones(7, 4, dtype=torch.float64)]))
    assert found.tolist() == [[pytest.approx(1), 0.0], [0.0, 0.0]]


def test_one_image_is_refused_and_one_encoder_has_nobody_to_be_alike_to() -> None:
    with pytest.raises(ValueError, match="there is 1"):
        linear_cka(seen(0, images=1))
    assert math.isnan(mean_cka(seen(0, encoders=1)))
