"""How far tuned text embeddings have moved from the untouched ones.

Legend: K clients, C texts, E joint dimension.
"""

from __future__ import annotations

from torch import Tensor


def drift(texts_KCE: Tensor, original_CE: Tensor) -> Tensor:
    """Mean squared distance ``(1 / C) sum_c ||w_c - w_c^0||^2`` of each client, ``[K]`` (KgCoOp, Yao et al. 2023).

    On normalised embeddings it is ``2 (1 - cos)``, so between 0 and 4.
    """
    return (texts_KCE - original_CE).square().sum(-1).mean(-1)
