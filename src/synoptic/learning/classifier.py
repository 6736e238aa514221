"""`Classifier`: images of a table against class names, with everything frozen computed once.

Legend: K clients, B rows, C classes, E joint dimension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from synoptic.core import SynopticError
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
        self._tokens: dict[tuple[str, ...], Tokens] = {}
        self._text: dict[tuple[tuple[str, ...], Depth], Tensor] = {}

    def texts(self, worn: Tensors, classes: NDArray[np.int64], clients: int) -> Tensor:
        """Class-name embeddings under what is worn: ``[K, C, E]``, or ``[1, C, E]`` when the text side is frozen."""
        return self.sentences(worn, tuple(self._prompts[index] for index in classes), clients)

    def sentences(self, worn: Tensors, sentences: tuple[str, ...], clients: int) -> Tensor:
        """The same for any sentences; what is frozen is computed once for each tuple of them."""
        if sentences not in self._tokens:
            self._tokens[sentences] = self.model.tokenize(sentences)
        tokens, depth = self._tokens[sentences], self.model.entry(worn, "text")
        if (sentences, depth) not in self._text:
            self._text[sentences, depth] = self.model.text_prefix(tokens, depth)
        return self.model.text_suffix(tokens, self._text[sentences, depth], depth, clients)

    def latents(self, worn: Tensors, rows: ImageRows, positions_KB: NDArray[np.int64]) -> Tensor:
        """Image embeddings ``[K, B, E]`` of each client's rows, before normalisation."""
        clients, width = positions_KB.shape
        depth = self.model.entry(worn, "vision")
        prefix = rows.prefix(positions_KB.ravel(), depth)
        with self.model.wearing(worn):
            return self.model.image_latent(prefix, depth).view(clients, width, -1)

    def pair(
        self, worn: Tensors, rows: ImageRows, positions_KB: NDArray[np.int64], classes: NDArray[np.int64],
        texts: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Both sides of a comparison: `latents` ``[K, B, E]`` and class-name embeddings ``[K or 1, C, E]``.

        Args:
            worn: what is worn.
            rows: the table's images.
            positions_KB: which of them.
            classes: the candidate classes.
            texts: their embeddings ``[K or 1, C, E]``, where somebody else computes them.
        """
        images = self.latents(worn, rows, positions_KB)
        if texts is None:
            with self.model.wearing(worn):
                texts = self.texts(worn, classes, len(positions_KB))
        return images, texts

    def similarities(self, latents_KBE: Tensor, texts_KCE: Tensor) -> Tensor:
        """Logits ``[K, B, C]`` of a `pair`."""
        return self.model.logits(F.normalize(latents_KBE, dim=-1), texts_KCE)

    def logits(
        self, worn: Tensors, rows: ImageRows, positions_KB: NDArray[np.int64], classes: NDArray[np.int64],
        texts: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Similarities ``[K, B, C]`` of each client's rows with the candidate classes; arguments as for `pair`."""
        return self.similarities(*self.pair(worn, rows, positions_KB, classes, texts))

    def loss(
        self, rows: ImageRows, labels: NDArray[np.int64], classes: NDArray[np.int64], texts: Tensor | None = None
    ) -> ClassificationLoss:
        """The training loss on one table with these candidate classes; ``texts`` as for `pair`."""
        return ClassificationLoss(self, rows, labels, classes, texts)

    @torch.no_grad()
    def predict(
        self, worn: Tensors, rows: ImageRows, positions: NDArray[np.int64], classes: NDArray[np.int64],
        batch: int = 256, texts: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Logits ``[K, n, C]`` of the same examples for every client, in batches; ``texts`` as for `pair`."""
        clients = next(iter(worn.values())).shape[0] if worn else 1
        width = max(1, batch // clients)
        parts = []
        for start in range(0, len(positions), width):
            some = positions[start : start + width]
            parts.append(self.logits(worn, rows, np.tile(some, (clients, 1)), classes, texts))
        return torch.cat(parts, dim=1)


@torch.no_grad()
def image_embeddings(
    classifier: Classifier, rows: ImageRows, worn: Tensors, positions: Sequence[NDArray[np.int64]], batch: int = 256
) -> list[Tensor]:
    """Normalised embeddings ``[n_k, E]`` of each client's own images, K clients side by side."""
    clients = len(positions)
    longest = max(len(some) for some in positions)
    width = max(1, batch // clients)
    # Whoever has fewer is padded with its own first image, which the shorter result leaves out again.
    padded = np.stack([np.concatenate([some, np.full(longest - len(some), some[0])]) for some in positions])
    parts = [classifier.latents(worn, rows, padded[:, i : i + width]) for i in range(0, longest, width)]
    images = F.normalize(torch.cat(parts, dim=1), dim=-1)
    return [own[: len(some)] for own, some in zip(images, positions, strict=True)]


class ClassificationLoss:
    """`synoptic.learning.fit.Loss` for classification: cross-entropy of each row against the candidate classes.

    Its parts are public, because other objectives are made of them.
    """

    def __init__(
        self, classifier: Classifier, rows: ImageRows, labels: NDArray[np.int64], classes: NDArray[np.int64],
        texts: Tensor | None = None,
    ) -> None:  # fmt: skip
        self.classifier = classifier
        self._rows = rows
        self._classes = classes
        self._labels = labels
        self._texts = texts
        self._place = np.full(int(max(labels.max(initial=0), classes.max(initial=0))) + 1, -1)
        self._place[classes] = np.arange(len(classes))

    def __call__(self, worn: Tensors, batch: Batch) -> Tensor:
        """Loss ``[K, B]``."""
        logits = self.classifier.similarities(*self.pair(worn, batch.rows))
        return classification_loss(logits, self.targets(batch.rows))

    def pair(self, worn: Tensors, positions_KB: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """As `Classifier.pair`."""
        return self.classifier.pair(worn, self._rows, positions_KB, self._classes, self._texts)

    def targets(self, positions: NDArray[np.int64]) -> Tensor:
        """Where the examples' classes stand among the candidates; the shape of ``positions``.

        Raises:
            SynopticError: an example of another class.
        """
        places = self._place[self._labels[positions]]
        if (places < 0).any():
            odd = int(positions[places < 0][0])
            raise SynopticError(f"training example {odd} is of class {self._labels[odd]}, which is no base class",
                                "leave examples of novel classes out of training")  # fmt: skip
        return torch.from_numpy(places)

    def log_probabilities(self, worn: Tensors, positions: NDArray[np.int64]) -> Tensor:
        """Log-probabilities ``[K, n, C]`` of the same examples for every client, without gradient."""
        logits = self.classifier.predict(worn, self._rows, positions, self._classes, texts=self._texts)
        return logits.log_softmax(-1)
