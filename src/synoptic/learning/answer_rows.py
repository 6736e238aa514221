"""`AnswerRows`: questions and answers about a table's pictures, with everything frozen computed once.

A row is an object (picture, question, answer) until a batch is made of it: nothing is ever cut from a concatenation of
pictures, so a batch in another order gives the same values in that order.

Legend: K clients, N = K * B rows (client-major), T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from synoptic.core import SynopticError
from synoptic.core.files import digest
from synoptic.data.table import ExampleTable
from synoptic.data.words import Words
from synoptic.models.answerer import Answerer
from synoptic.models.answerer.families import Grid, View
from synoptic.models.answerer.prompts import Sequences
from synoptic.models.cache import Budget, PrefixCache

Tensors = Mapping[str, Tensor]
Said = Literal["answer", "rejected"]

PIXELS = 2**31
"""Bytes of preprocessed pictures kept in memory where the image side is trained; others are read again."""

LOADED = 256


@dataclass(frozen=True)
class Begun:
    """Rows that the frozen part has been computed for: hidden states ``[N, T, D]`` that enter block ``depth``."""

    hidden: Tensor
    rows: Sequences
    depth: int


class AnswerRows:
    """Frozen prefixes of one table's rows, cached or computed anew at each call.

    Args:
        model: the frozen base.
        table: pictures with words.
        order: positions that will be asked for, neighbours together.
        budget: memory for the cache; None computes anew each time.
        starts: places in ``order`` where a new client begins.

    Attributes:
        model, table: as given.

    Raises:
        SynopticError: a table without words, or a row that the model cannot hold.
    """

    def __init__(
        self, model: Answerer, table: ExampleTable, order: NDArray[np.int64], budget: Budget | None,
        starts: NDArray[np.int64] | None = None,
    ) -> None:  # fmt: skip
        if table.words is None:
            raise SynopticError(f"{table.name} asks no questions, and {model.name} answers questions",
                                "use data with questions, or a dual encoder such as tiny-clip")  # fmt: skip
        self.model = model
        self.table = table
        self._order = order
        self._budget = budget
        self._starts = starts
        self._place = np.full(len(table), -1, dtype=np.int64)
        self._place[order] = np.arange(len(order))
        self._pictures, self._picture = table.distinct(order)
        self._grids = self._all_grids()
        self._tokens = max((model.family.tokens(grid) for grid in set(self._grids.values())), default=0)
        self._views: dict[int, View] = {}
        self._room = PIXELS
        self._caches: dict[tuple[Said, int], PrefixCache] = {}
        self._feature_cache: PrefixCache | None = None
        self._rows = self._encoded(table.words.take(order))

    def _encoded(self, words: Words) -> dict[Said, Sequences]:
        where = [f"row {position} of {self.table.name}" for position in self._order]
        grids = [self._grids[picture] for picture in self._pictures[self._picture].tolist()]
        said: dict[Said, tuple[str, ...] | None] = {"answer": words.answers, "rejected": words.rejected}
        return {key: self.model.prompts.encode(words.questions, grids, texts, where)
                for key, texts in said.items() if texts is not None}  # fmt: skip

    @property
    def prefers(self) -> bool:
        """Whether there are rejected answers."""
        return "rejected" in self._rows

    def rows(self, positions: NDArray[np.int64], said: Said = "answer") -> Sequences:
        """Token ids of the rows at ``positions [N]``, in their order.

        Raises:
            SynopticError: a position that is not in the rows' order.
        """
        places = self._place[positions]
        if (places < 0).any():
            raise SynopticError(f"example {int(positions[places < 0][0])} is outside the rows of {self.table.name}",
                                "ask only for examples of a client or of a test split")  # fmt: skip
        return self._rows[said].take(torch.from_numpy(places))

    def begin(self, worn: Tensors, positions: NDArray[np.int64], said: Said = "answer") -> Begun:
        """Everything up to the first block that ``worn`` adapts, for client-major rows ``[N]``.

        Pictures pass through an adapted image tower or connector with gradient; everything else here has none.
        """
        rows, depth = self.rows(positions, said), self.model.entry(worn)
        if depth == 0 or self._budget is None:
            return Begun(self._hidden(worn, positions, rows, depth), rows, depth)
        return Begun(self._cache(said, depth).fetch(positions)[:, : rows.ids.shape[1]], rows, depth)

    def prompts(self, worn: Tensors, positions: NDArray[np.int64]) -> Begun:
        """The rows' prompts without their answers, at depth 0, for decoding."""
        rows = self.rows(positions).prompts()
        return Begun(self._hidden(worn, positions, rows, 0), rows, 0)

    def completed(self, worn: Tensors, positions: NDArray[np.int64], answers: Sequence[str]) -> Begun:
        """The rows at ``positions [N]`` with other answers, such as a policy's; only pictures are remembered."""
        words, places = self.table.words, self._place[positions]
        assert words is not None
        grids = [self._grids[picture] for picture in self._pictures[self._picture[places]].tolist()]
        where = [f"row {position} of {self.table.name}" for position in positions]
        asked = [words.questions[position] for position in positions]
        rows = self.model.prompts.encode(asked, grids, answers, where, made_up=True)
        depth = self.model.entry(worn)
        return Begun(self._hidden(worn, positions, rows, depth), rows, depth)

    def _hidden(self, worn: Tensors, positions: NDArray[np.int64], rows: Sequences, depth: int) -> Tensor:
        features = self._features(worn, positions)
        hidden_NTD = self.model.embed(rows, features)
        if depth == 0:
            return hidden_NTD
        with torch.no_grad(), self.model.wearing({}):
            return self.model.run(hidden_NTD, rows, 0, depth)

    def _cache(self, said: Said, depth: int) -> PrefixCache:
        if (said, depth) not in self._caches:
            assert self._budget is not None
            width = self._rows[said].ids.shape[1]

            def compute(positions: NDArray[np.int64]) -> Tensor:
                hidden_NTD = self._hidden({}, positions, self.rows(positions, said), depth)
                return F.pad(hidden_NTD, (0, 0, 0, width - hidden_NTD.shape[1]))

            key = self._key(said, str(depth))
            self._caches[said, depth] = PrefixCache(key, compute, self._order, self._budget, self._starts)
        return self._caches[said, depth]

    # -- pictures ---------------------------------------------------------------------------------------------------

    def _features(self, worn: Tensors, positions: NDArray[np.int64]) -> list[Tensor]:
        """What the decoder reads of each row's picture, ``[tokens, D]``."""
        model, pictures = self.model, self._pictures[self._picture[self._place[positions]]]
        if model.sees(worn):
            with model.wearing(worn):
                return model.features(self._seen(pictures))
        if self._budget is None:
            return self._looked_at(pictures)
        if self._feature_cache is None:
            key = self._key("features")
            self._feature_cache = PrefixCache(key, self._padded, self._pictures, self._budget)
        features = self._feature_cache.fetch(pictures)
        return [
            one[: model.family.tokens(self._grids[picture])] for picture, one in zip(pictures, features, strict=True)
        ]

    @torch.no_grad()
    def _looked_at(self, pictures: NDArray[np.int64]) -> list[Tensor]:
        with self.model.wearing({}):
            return self.model.features(self.model.family.views(self.table.images.load(pictures)))

    def _padded(self, pictures: NDArray[np.int64]) -> Tensor:
        found = self._looked_at(pictures)
        return torch.stack([F.pad(one, (0, 0, 0, self._tokens - len(one))) for one in found])

    def _seen(self, pictures: NDArray[np.int64]) -> list[View]:
        """Preprocessed pictures; as many as there is room for are kept."""
        new = np.array([picture for picture in np.unique(pictures) if int(picture) not in self._views], dtype=np.int64)
        found = dict(self._views)
        if len(new):
            views = self.model.family.views(self.table.images.load(new))
            for picture, view in zip(new.tolist(), views, strict=True):
                found[picture] = view
                self._keep(picture, view)
        return [found[picture] for picture in pictures.tolist()]

    def _keep(self, picture: int, view: View) -> None:
        size = view.pixels.numel() * view.pixels.element_size()
        if size <= self._room:
            self._room -= size
            self._views[picture] = view

    def _all_grids(self) -> dict[int, Grid]:
        """How every picture is cut up; where that is the same for all, nothing is opened."""
        if not self.model.family.sized:
            return dict.fromkeys(self._pictures.tolist(), ())
        grids: dict[int, Grid] = {}
        for start in range(0, len(self._pictures), LOADED):
            some = self._pictures[start : start + LOADED]
            grids |= dict(zip(some.tolist(), self.model.family.grids(self.table.images.load(some)), strict=True))
        return grids

    def _key(self, *what: str) -> str:
        model = self.model
        return digest(model.fingerprint, model.preprocess.fingerprint, str(model.half), self.table.fingerprint, *what)
