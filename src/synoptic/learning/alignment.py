"""Tuning class names to embeddings of images that came from elsewhere: no image is seen here.

Legend: B rows, C classes, E joint dimension, U embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from synoptic.learning.batches import Batch
from synoptic.learning.classifier import Classifier, Tensors
from synoptic.learning.objectives.contrastive import classification_loss
from synoptic.learning.objectives.drift import drift


class AlignmentLoss:
    """`synoptic.learning.fit.Loss`: cross-entropy of given embeddings against the class names under what is worn.

    Args:
        classifier: the base and its class prompts.
        classes: the candidate classes.
        images_UE: the embeddings; they are normalised here, whoever sent them.
        labels_U: where each one's class stands among the candidates.
        guarded: sentences whose embeddings are held near the untouched ones.
        guard: how strongly.
    """

    def __init__(
        self, classifier: Classifier, classes: NDArray[np.int64], images_UE: Tensor, labels_U: Tensor,
        guarded: Sequence[str] = (), guard: float = 0.0,
    ) -> None:  # fmt: skip
        self._classifier = classifier
        self._classes = classes
        self._images = F.normalize(images_UE, dim=-1)
        self._labels = labels_U
        self._guarded = tuple(guarded)
        self._guard = guard
        if guard:
            self._original = classifier.sentences({}, self._guarded, 1)[0]

    def __call__(self, worn: Tensors, batch: Batch) -> Tensor:
        """Loss ``[1, B]``; the guard is the same in every row."""
        rows = torch.from_numpy(batch.rows)
        with self._classifier.model.wearing(worn):
            texts = self._classifier.texts(worn, self._classes, 1)
            guarded = self._classifier.sentences(worn, self._guarded, 1) if self._guard else None
        loss = classification_loss(self._classifier.model.logits(self._images[rows], texts), self._labels[rows])
        return loss if guarded is None else loss + self._guard * drift(guarded, self._original)[:, None]
