"""Pictures of tables that are put together: several stores behind one another, and stand-ins for texts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synoptic.core.files import digest
from synoptic.data.images import ArrayImages, ImageStore, Pixels, same_size

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TextPatterns:
    """For rows that are texts alone, patterns of 4x4 pixels made of these texts.

    Two patterns are the same exactly if the texts are, so what compares pictures, such as the check that nothing for
    testing was trained on, compares texts here.
    """

    texts: Sequence[str]

    def __len__(self) -> int:
        return len(self.texts)

    def load(self, positions: Ints) -> NDArray[np.uint8]:
        """See `ImageStore.load`."""
        bytes_ = b"".join(hashlib.sha384(self.texts[int(p)].encode()).digest() for p in positions)
        return np.frombuffer(bytes_, dtype=np.uint8).reshape(len(positions), 4, 4, 3)

    def signatures(self, positions: Ints) -> list[str]:
        """See `ImageStore.signatures`."""
        return [digest(self.texts[int(p)]) for p in positions]

    @cached_property
    def fingerprint(self) -> str:
        """See `ImageStore.fingerprint`."""
        return digest(*self.texts)


@dataclass(frozen=True, eq=False)
class JoinedImages:
    """The pictures of several stores, one store after the other; none is copied."""

    stores: tuple[ImageStore, ...]

    def __len__(self) -> int:
        return int(self._ends[-1])

    def load(self, positions: Ints) -> Pixels:
        """See `ImageStore.load`."""
        parts = [(rows, store.load(inside)) for rows, store, inside in self._split(positions)]
        if len(parts) == 1:
            return parts[0][1]
        found: dict[int, Image.Image] = {}
        for rows, pictures in parts:
            shown = pictures if isinstance(pictures, list) else [Image.fromarray(picture) for picture in pictures]
            found.update(zip(rows.tolist(), shown, strict=True))
        return same_size([found[row] for row in range(len(positions))])

    def signatures(self, positions: Ints) -> list[str]:
        """See `ImageStore.signatures`."""
        found = dict[int, str]()
        for rows, store, inside in self._split(positions):
            found.update(zip(rows.tolist(), store.signatures(inside), strict=True))
        return [found[row] for row in range(len(positions))]

    @cached_property
    def fingerprint(self) -> str:
        """See `ImageStore.fingerprint`."""
        return digest(*(store.fingerprint for store in self.stores))

    @cached_property
    def _ends(self) -> Ints:
        return np.cumsum([len(store) for store in self.stores])

    def _split(self, positions: Ints) -> list[tuple[Ints, ImageStore, Ints]]:
        """Of each store that is asked: places among the positions, the store, and where its pictures lie in it."""
        positions = np.asarray(positions, dtype=np.int64)
        which = np.searchsorted(self._ends, positions, side="right")
        starts = self._ends - np.array([len(store) for store in self.stores])
        return [(rows, self.stores[index], positions[rows] - starts[index])
                for index in np.unique(which) for rows in [np.flatnonzero(which == index)]]  # fmt: skip


def joined(stores: Sequence[ImageStore]) -> ImageStore:
    """One store of several: a copy where all are arrays of one size, else a view."""
    arrays = [store.array for store in stores if isinstance(store, ArrayImages)]
    if len(arrays) == len(stores) and len({array.shape[1:] for array in arrays}) == 1:
        return ArrayImages(np.concatenate(arrays))
    return JoinedImages(tuple(stores))
