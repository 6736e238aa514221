"""What a reward model over a dual encoder reads of (picture, question, text): their joint embeddings.

Legend: K clients, N = K * B rows (client-major), E joint dimension, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synoptic.core import SynopticError
from synoptic.core.files import digest
from synoptic.data.table import ExampleTable
from synoptic.data.words import Words
from synoptic.learning.answer_rows import Said, Tensors
from synoptic.learning.classifier import ImageRows
from synoptic.models.cache import Budget, PrefixCache
from synoptic.models.dual_encoder import Depth, DualEncoder
from synoptic.models.towers import Tokens

Ints = NDArray[np.int64]
Heard = Literal["answer", "both"]
"""What the text tower is given: the text alone, or the question behind it."""


class EncoderReader:
    """`Reader` over a dual encoder: joint embeddings of picture x and text t, and where they agree.

    Features are ``[e_x, e_t, e_x * e_t]``, F = 3 E. Each part is scaled to entries of about one, so that a linear head
    learns from all three at one rate.

    Args:
        model: the frozen base.
        table: pictures with questions.
        order: positions that will be asked for, neighbours together.
        budget: memory for frozen prefixes; None computes them anew each time.
        starts: places in ``order`` where a new client begins.
        heard: what the text tower is given. The text comes first, because what is too long is cut at its end.
    """

    def __init__(
        self, model: DualEncoder, table: ExampleTable, order: Ints, budget: Budget | None, starts: Ints | None = None,
        heard: Heard = "both",
    ) -> None:  # fmt: skip
        self._model = model
        self._words = _words(table)
        self._heard = heard
        self._pictures = ImageRows(model, table, order, budget, starts)
        self._sentences = _Sentences(model, self._words, order, heard, budget)

    def pair(self, worn: Tensors, positions: Ints) -> tuple[Tensor, Tensor]:
        """See `Reader.pair`."""
        pictures_NE = self._seen(worn, positions)
        both: tuple[Said, Said] = ("answer", "rejected")
        preferred, rejected = (
            self._joined(pictures_NE, worn, *self._sentences.fetch(positions, said, self._model.entry(worn, "text")))
            for said in both
        )
        return preferred, rejected

    def texts(self, worn: Tensors, positions: Ints, texts: Sequence[str]) -> Tensor:
        """See `Reader.texts`."""
        questions = [self._words.questions[position] for position in positions]
        sentences = [sentence(*both, self._heard) for both in zip(questions, texts, strict=True)]
        # Groups of a policy that has settled say few things.
        distinct, place = np.unique(np.array(sentences, dtype=object), return_inverse=True)
        tokens, depth = self._model.tokenize(distinct.tolist()), self._model.entry(worn, "text")
        prefix, at = self._model.text_prefix(tokens, depth), torch.from_numpy(place)
        chosen = Tokens(tokens.ids_NT[at], tokens.pool_N[at])
        return self._joined(self._seen(worn, positions), worn, chosen, prefix[at], depth)

    def _seen(self, worn: Tensors, positions: Ints) -> Tensor:
        depth = self._model.entry(worn, "vision")
        prefix = self._pictures.prefix(positions, depth)
        with self._model.wearing(worn):
            return self._model.image_suffix(prefix, depth)

    def _joined(self, pictures_NE: Tensor, worn: Tensors, tokens: Tokens, prefix: Tensor, depth: Depth) -> Tensor:
        with self._model.wearing(worn):
            texts_NE = self._model.text_rows(tokens, prefix, depth)
        size = self._model.dim**0.5
        return torch.cat([size * pictures_NE, size * texts_NE, size**2 * pictures_NE * texts_NE], dim=-1)


class _Sentences:
    """What the text tower is given of a table's rows: each sentence tokenised once, its frozen part computed once."""

    def __init__(self, model: DualEncoder, words: Words, order: Ints, heard: Heard, budget: Budget | None) -> None:
        self._model = model
        self._budget = budget
        said = {"answer": words.answers, "rejected": words.rejected}
        rows = {key: [sentence(words.questions[row], texts[row], heard) for row in order.tolist()]
                for key, texts in said.items() if texts is not None}  # fmt: skip
        distinct = dict.fromkeys(chain.from_iterable(rows.values()))
        numbers = {text: number for number, text in enumerate(distinct)}
        self._tokens = model.tokenize(list(numbers) or [""])
        self._number = {key: np.full(len(words), -1, dtype=np.int64) for key in rows}
        for key, texts in rows.items():
            self._number[key][order] = [numbers[text] for text in texts]
        self._all = np.arange(len(numbers))
        self._key = digest(model.fingerprint, str(model.half), *numbers)
        self._caches: dict[Depth, PrefixCache] = {}

    def fetch(self, positions: Ints, said: Said, depth: Depth) -> tuple[Tokens, Tensor, Depth]:
        """Tokens, frozen part and depth of the rows' sentences."""
        numbers = self._number[said][positions]
        if (numbers < 0).any():
            raise SynopticError(f"example {int(positions[numbers < 0][0])} is outside the rows of a reward model",
                                "ask only for examples of a client or of a test split")  # fmt: skip
        at = torch.from_numpy(numbers)
        tokens = Tokens(self._tokens.ids_NT[at], self._tokens.pool_N[at])
        if self._budget is None:
            return tokens, self._model.text_prefix(tokens, depth), depth
        return tokens, self._cache(depth).fetch(numbers), depth

    def _cache(self, depth: Depth) -> PrefixCache:
        if depth not in self._caches:
            assert self._budget is not None

            def compute(numbers: Ints) -> Tensor:
                at = torch.from_numpy(numbers)
                return self._model.text_prefix(Tokens(self._tokens.ids_NT[at], self._tokens.pool_N[at]), depth)

            key = digest(self._key, str(depth))
            self._caches[depth] = PrefixCache(key, compute, self._all, self._budget)
        return self._caches[depth]


def sentence(question: str, text: str, heard: Heard) -> str:
    """What a text tower is given.

    >>> sentence("what colour is it?", "red", "both")
    'red what colour is it?'
    """
    return text if heard == "answer" else f"{text} {question}"


def _words(table: ExampleTable) -> Words:
    if table.words is None:
        raise SynopticError(f"{table.name} asks no questions, and a reward model judges answers to questions",
                            "use data with questions")  # fmt: skip
    return table.words
