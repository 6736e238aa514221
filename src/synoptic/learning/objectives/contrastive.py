"""Classifying images by their class names' embeddings.

Legend: K clients, B rows, C classes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def classification_loss(logits_KBC: Tensor, labels_KB: Tensor) -> Tensor:
    """Cross-entropy of every row, ``[K, B]``: -log softmax_c(<image, text_c> / tau) at the label.

    This is CLIP's contrastive objective with the class names as the texts (Radford et al. 2021, section 3.1.2).
    """
    return F.cross_entropy(logits_KBC.flatten(0, 1), labels_KB.flatten(), reduction="none").view(labels_KB.shape)


def correct(logits_KBC: Tensor, labels_KB: Tensor) -> Tensor:
    """Whether the most similar class name is the right one, ``[K, B]`` bool; ties go to the first."""
    return logits_KBC.argmax(-1) == labels_KB
