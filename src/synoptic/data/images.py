"""Where pixels come from: arrays, encoded bytes or files. Encoded pictures stay encoded until somebody asks."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from synoptic.core.errors import SynopticError
from synoptic.core.files import digest

Ints = NDArray[np.int64]
Pixels = list[Image.Image] | NDArray[np.uint8]


class ImageStore(Protocol):
    """Pictures by position."""

    def __len__(self) -> int: ...

    def load(self, positions: Ints) -> Pixels:
        """Decoded RGB pictures: uint8 [n, H, W, 3] when all share a size, else a list of PIL images."""

    def signatures(self, positions: Ints) -> list[str]:
        """Content hashes of the pictures as they are stored, without decoding."""

    @property
    def fingerprint(self) -> str:
        """Identity of the whole store's content, 16 hex digits; cheap."""


@dataclass(frozen=True, eq=False)
class ArrayImages:
    """Pictures in memory, uint8 [n, H, W, 3]."""

    array: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.array)

    def load(self, positions: Ints) -> NDArray[np.uint8]:
        """See `ImageStore.load`."""
        return self.array[positions]

    def signatures(self, positions: Ints) -> list[str]:
        """See `ImageStore.signatures`."""
        return [digest(picture) for picture in self.array[positions]]

    @cached_property
    def fingerprint(self) -> str:
        """See `ImageStore.fingerprint`."""
        return digest(self.array)


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """PNG, JPEG, ... bytes per row, decoded with ``.convert("RGB")`` on demand.

    Attributes:
        content: bytes by position (a list, or a column of a file that reads a row when asked).
        origin: what the rows belong to, for error messages.
        identity: the source's fingerprint where it has one cheaper than hashing every row.

    """

    content: Sequence[bytes]
    origin: str = "the images"
    identity: str | None = None

    def __len__(self) -> int:
        return len(self.content)

    def load(self, positions: Ints) -> Pixels:
        """See `ImageStore.load`. A picture that PIL cannot read is an error that names its row."""
        return same_size([decode(self.content[int(p)], f"row {int(p)} of {self.origin}") for p in positions])

    def signatures(self, positions: Ints) -> list[str]:
        """See `ImageStore.signatures`."""
        return [digest(self.content[int(p)]) for p in positions]

    @cached_property
    def fingerprint(self) -> str:
        """See `ImageStore.fingerprint`."""
        return self.identity or digest(*(self.content[i] for i in range(len(self.content))))


@dataclass(frozen=True, eq=False)
class FileImages:
    """One file per picture, opened on demand."""

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def load(self, positions: Ints) -> Pixels:
        """See `ImageStore.load`. A picture that PIL cannot read is an error that names its file."""
        return same_size([decode(self._read(int(p)), str(self.paths[int(p)])) for p in positions])

    def signatures(self, positions: Ints) -> list[str]:
        """See `ImageStore.signatures`."""
        return [digest(self._read(int(p))) for p in positions]

    @cached_property
    def fingerprint(self) -> str:
        """See `ImageStore.fingerprint`: the last two parts of every path, and the sizes."""
        return digest(*(f"{path.parent.name}/{path.name}:{path.stat().st_size}" for path in self.paths))

    def _read(self, position: int) -> bytes:
        try:
            return self.paths[position].read_bytes()
        except OSError as error:
            raise SynopticError(f"{self.paths[position]} cannot be read ({error.strerror})", "restore it") from error


@dataclass(frozen=True, eq=False)
class ChosenImages:
    """A selection from another store, which is not copied."""

    store: ImageStore
    chosen: Ints

    def __len__(self) -> int:
        return len(self.chosen)

    def load(self, positions: Ints) -> Pixels:
        """See `ImageStore.load`."""
        return self.store.load(self.chosen[positions])

    def signatures(self, positions: Ints) -> list[str]:
        """See `ImageStore.signatures`."""
        return self.store.signatures(self.chosen[positions])

    @cached_property
    def fingerprint(self) -> str:
        """See `ImageStore.fingerprint`."""
        return digest(self.store.fingerprint, self.chosen)


def choose(store: ImageStore, positions: Ints) -> ImageStore:
    """The pictures at ``positions``; a selection of a selection stays one step from the source."""
    if isinstance(store, ChosenImages):
        return ChosenImages(store.store, store.chosen[positions])
    return ChosenImages(store, positions)


def decode(content: bytes, where: str) -> Image.Image:
    """An RGB picture from encoded bytes; bytes that are no picture are an error that says where they lie."""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        # The library's own words name an address in memory.
        reason = "of no known format" if isinstance(error, UnidentifiedImageError) else error
        raise SynopticError(f"{where} is not a readable image ({reason})", "repair or remove it") from error


def same_size(pictures: list[Image.Image]) -> Pixels:
    """One array when all pictures share a size, else the list as it is."""
    if pictures and len({picture.size for picture in pictures}) == 1:
        return np.stack([np.asarray(picture) for picture in pictures])
    return pictures
