"""Low-rank layers over client-major rows, each client's rows by its own tensors: pure functions.

Several blocks of one kind are worn side by side: their ranks are put next to each other, which is exactly the sum of
what each would add.

Legend: K clients, N = K * B rows (client-major), T tokens, S tokens attended to, E width, r rank, h attention heads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Tensors = Mapping[str, Tensor]


def normed(x: Tensor) -> Tensor:
    """Mean zero and variance one along the width; nothing is learned."""
    return F.layer_norm(x, x.shape[-1:])


def per_client(x: Tensor, weight_KOE: Tensor) -> Tensor:
    """``W_k x`` for rows ``[N, ..., E]``: ``[N, ..., O]``."""
    rows = x.reshape(len(weight_KOE), -1, x.shape[-1])
    return torch.bmm(rows, weight_KOE.mT).view(*x.shape[:-1], -1)


def side_by_side(worn: Tensors, blocks: Sequence[str], part: str, axis: int) -> Tensor:
    """One part of several blocks, next to each other along an axis ``[K, ...]``."""
    return torch.cat([worn[f"{block}/{part}"] for block in blocks], dim=axis)


def attention(
    worn: Tensors, blocks: Sequence[str], x_NTE: Tensor, seen_NSE: Tensor, mask: Tensor, heads: int
) -> Tensor:
    """What several attention blocks add to each token, ``[N, T, E]``.

    Args:
        worn: tensors by name.
        blocks: names of attention blocks, or of parts of a head that have an attention's tensors.
        x_NTE: tokens that ask.
        seen_NSE: tokens that are looked at.
        mask: which, ``[N, T or 1, S]`` bool.
        heads: of each block.
    """
    query, key, value = (
        per_client(x, side_by_side(worn, blocks, part, 1)).unflatten(-1, (heads * len(blocks), -1)).transpose(1, 2)
        for part, x in (("query", x_NTE), ("key", seen_NSE), ("value", seen_NSE))
    )
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None])
    return per_client(mixed.transpose(1, 2).flatten(2), side_by_side(worn, blocks, "out", 2))


def bottleneck(worn: Tensors, blocks: Sequence[str], x: Tensor) -> Tensor:
    """What several experts add to each token, ``[N, ..., E]``: ``sum_b U_b gelu(D_b x)``."""
    inner = F.gelu(per_client(x, side_by_side(worn, blocks, "down", 1)))
    return per_client(inner, side_by_side(worn, blocks, "up", 2))
