"""How alike several encoders see the same images: centred kernel alignment.

Legend: K encoders, n images, E dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor


def linear_cka(seen_KnE: Tensor) -> Tensor:
    """Linear CKA of all pairs of encoders, ``[K, K]`` in 0..1, float64 (Kornblith et al. 2019, section 3).

    ``|X' Y|^2 / (|X' X| |Y' Y|)`` for embeddings X and Y ``[n, E]`` whose columns have mean zero. Rotating or scaling
    all that one encoder says changes nothing; an encoder that says the same of every image is alike to none (0).

    Raises:
        ValueError: a single image, which has nothing to be compared with.
    """
    if seen_KnE.shape[1] < 2:
        raise ValueError(f"CKA compares images with each other, and there is {seen_KnE.shape[1]}")
    centred = seen_KnE.double() - seen_KnE.double().mean(1, keepdim=True)
    crossed = torch.einsum("ine,jnf->ijef", centred, centred).square().sum((-2, -1))
    size = crossed.diagonal().sqrt()
    return crossed / (size[:, None] * size[None, :]).clamp(min=torch.finfo(torch.float64).tiny)


def mean_cka(seen_KnE: Tensor) -> float:
    """The mean of `linear_cka` over pairs of different encoders; NaN with a single one."""
    return float(linear_cka(seen_KnE)[~torch.eye(len(seen_KnE), dtype=torch.bool)].mean())
