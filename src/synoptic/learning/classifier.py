"""`Classifier`: images of a table against class names, with everything frozen computed once.

Legend: K clients, B rows, C classes, E joint dimension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synoptic.core.files import digest
from synoptic.data.table import ExampleTable
from synoptic.learning.batches import Batch
from synoptic.learning.objectives.contrastive import classification_loss
from synoptic.models.cache import Budget, PrefixCache
from synoptic.models.dual_encoder import Depth, DualEncoder
from synoptic.models.towers import Tokens

Tensors = Mapping[str, Tensor]

PIXELS = 2**31
"""Bytes of preprocessed pixels in memory when prefixes are not cached; more go to a temporary file."""


class ImageRows:
    """Frozen prefixes of one table's images, cached or computed anew at each call.

    Args:
        model: the frozen base.
        table: whose images.
        order: positions that will be asked for, neighbours together.
        budget: memory for the cache; None computes anew each time (the images are still preprocessed once).
        starts: places in ``order`` where a new client begins.
    """

    def __init__(
        self, model: DualEncoder, table: ExampleTable, order: NDArray[np.int64], budget: Budget | None,
        starts: NDArray[np.int64] | None = None,
    ) -> None:  # fmt: skip
        self._model = model
        self._table = table
        self._order = order
        self._budget = budget
        self._starts = starts
        self._pixel_budget = budget or Budget(PIXELS)
        self._caches: dict[Depth | None, PrefixCache] = {}

    def prefix(self, positions: NDArray[np.int64], depth: Depth) -> Tensor:
        """Frozen hidden states (or embeddings) at ``depth`` for the positions, in their order."""
        if self._budget is None:
            return self._model.image_prefix(self._cache(None).fetch(positions), depth)
        return self._cache(depth).fetch(positions)

    def _cache(self, depth: Depth | None) -> PrefixCache:
        if depth not in self._caches:
            model, table = self._model, self._table

            def compute(positions: NDArray[np.int64]) -> Tensor:
                pixels = model.pixels(table.images.load(positions))
                return pixels if depth is None else model.image_prefix(pixels, depth)

            what = (model.fingerprint, model.preprocess.fingerprint, str(model.half), str(depth), table.fingerprint)
            self._caches[depth] = PrefixCache(digest(*what), compute, self._order, self._pixel_budget, self._starts)
        return self._caches[depth]


class Classifier:
    """Image classification by class names for a stack of adapters.

    Args:
        model: the frozen base.
        prompts: a sentence for every class, base and novel.
    """

    def __init__(self, model: DualEncoder, prompts: Sequence[str]) -> None:
        self.model = model
        self._prompts = list(prompts)
        self._tokens: dict[bytes, Tokens] = {}
        self._text: dict[tuple[bytes, Depth], Tensor] = {}

    def texts(self, worn: Tensors, classes: NDArray[np.int64], clients: int) -> Tensor:
        """Class-name embeddings under what is worn: ``[K, C, E]``, or ``[1, C, E]`` when the text side is frozen."""
        key = classes.tobytes()
        if key not in self._tokens:
            self._tokens[key] = self.model.tokenize([self._prompts[index] for index in classes])
        depth = self.model.entry(worn, "text")
        if (key, depth) not in self._text:
            self._text[key, depth] = self.model.text_prefix(self._tokens[key], depth)
        return self.model.text_suffix(self._tokens[key], self._text[key, depth], depth, clients)

    def logits(
        self, worn: Tensors, rows: ImageRows, positions_KB: NDArray[np.int64], classes: NDArray[np.int64]
    ) -> Tensor:
        """Similarities ``[K, B, C]`` of each client's rows with the candidate classes."""
        clients, width = positions_KB.shape
        depth = self.model.entry(worn, "vision")
        prefix = rows.prefix(positions_KB.ravel(), depth)
        with self.model.wearing(worn):
            images = self.model.image_suffix(prefix, depth).view(clients, width, -1)
            texts = self.texts(worn, classes, clients)
        return self.model.logits(images, texts)

    def loss(self, rows: ImageRows, labels: NDArray[np.int64], classes: NDArray[np.int64]) -> ClassificationLoss:
        """The training loss on one table with these candidate classes."""
        return ClassificationLoss(self, rows, labels, classes)

    @torch.no_grad()
    def predict(
        self, worn: Tensors, rows: ImageRows, positions: NDArray[np.int64], classes: NDArray[np.int64], batch: int = 256
    ) -> Tensor:
        """Logits ``[K, n, C]`` of the same examples for every client, in batches."""
        clients = next(iter(worn.values())).shape[0] if worn else 1
        width = max(1, batch // clients)
        parts = []
        for start in range(0, len(positions), width):
            some = positions[start : start + width]
            parts.append(self.logits(worn, rows, np.tile(some, (clients, 1)), classes))
        return torch.cat(parts, dim=1)


class ClassificationLoss:
    """`synoptic.learning.fit.Loss` for classification: cross-entropy of each row against the candidate classes."""

    def __init__(
        self, classifier: Classifier, rows: ImageRows, labels: NDArray[np.int64], classes: NDArray[np.int64]
    ) -> None:
        self._classifier = classifier
        self._rows = rows
        self._classes = classes
        self._labels = labels
        self._place = np.full(int(max(labels.max(initial=0), classes.max(initial=0))) + 1, -1)
        self._place[classes] = np.arange(len(classes))

    def __call__(self, worn: Tensors, batch: Batch) -> Tensor:
        """Loss ``[K, B]``."""
        logits = self._classifier.logits(worn, self._rows, batch.rows, self._classes)
        return classification_loss(logits, torch.from_numpy(self._place[self._labels[batch.rows]]))
