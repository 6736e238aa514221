"""A head that makes one number of a feature vector, outside the module tree like everything that is trained.

``reward/head/weight [K, F]`` is linear; with ``reward/hidden/weight [K, H, F]`` and ``reward/hidden/bias [K, H]`` below
it, it is a perceptron with one hidden layer, and the head's weight is ``[K, H]``.

Legend: K clients, N = K * B rows (client-major), F features, H hidden units.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

HEAD = "reward/head/weight"
HIDDEN_WEIGHT, HIDDEN_BIAS = "reward/hidden/weight", "reward/hidden/bias"


def init_head(features: int, hidden: int, rng: torch.Generator) -> dict[str, Tensor]:
    """One client's fresh head, by tensor names; its output is zero whatever it reads.

    Args:
        features: F.
        hidden: H; 0 makes the head linear.
        rng: draws the hidden weights, uniform in +-1/sqrt(F).
    """
    if not hidden:
        return {HEAD: torch.zeros(features)}
    weight = (torch.rand(hidden, features, generator=rng) * 2 - 1) * features**-0.5
    return {HIDDEN_WEIGHT: weight, HIDDEN_BIAS: torch.zeros(hidden), HEAD: torch.zeros(hidden)}


def is_reward(one: Container[str]) -> bool:
    """Whether an adapter, or tensors by name, are a reward model's."""
    return HEAD in one


def scalar(worn: Mapping[str, Tensor], features_NF: Tensor) -> Tensor:
    """One number for every row ``[N]``, each client's rows by its own head; zeros where no head is worn."""
    weight_KF = worn.get(HEAD)
    if weight_KF is None:
        return features_NF.new_zeros(len(features_NF))
    rows_KBF = features_NF.view(len(weight_KF), -1, features_NF.shape[-1])
    if HIDDEN_WEIGHT in worn:
        rows_KBF = F.gelu(torch.baddbmm(worn[HIDDEN_BIAS][:, None], rows_KBF, worn[HIDDEN_WEIGHT].mT))
    return torch.bmm(rows_KBF, weight_KF[..., None]).flatten()
