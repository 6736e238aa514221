"""Questions about pictures as a few arrays: how a server shows its own to clients."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synoptic.core.errors import SynopticError
from synoptic.core.files import digest
from synoptic.data.images import ChosenImages, EncodedImages, ImageStore, choose
from synoptic.data.table import ExampleTable
from synoptic.data.words import Words

Ints = NDArray[np.int64]
UNSAID = "."
"""Stands where an answer stayed behind: models refuse rows without any."""
_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Parcel:
    """n questions about p pictures; answers stay behind.

    Attributes:
        pictures: uint8, the pictures' encoded bytes one behind the other.
        ends: int64 [p], where each picture ends there.
        shows: int64 [n], which picture each question is about.
        questions: uint8, a JSON list of n texts in UTF-8.

    """

    pictures: NDArray[np.uint8]
    ends: Ints
    shows: Ints
    questions: NDArray[np.uint8]

    @property
    def fingerprint(self) -> str:
        """Identity of the content, 16 hex digits."""
        return digest(self.pictures, self.ends, self.shows, self.questions)

    def table(self, name: str) -> ExampleTable:
        """The same questions, without answers.

        Raises:
            SynopticError: arrays that do not fit together.

        """
        begins = np.concatenate([[0], self.ends.flatten()[:-1]]).astype(np.int64)
        questions = self._asked(name)
        if not self._fits(begins) or len(questions) != len(self.shows):
            raise SynopticError(f"the pictures and questions of {name} do not fit each other", "send them again")
        content = [self.pictures[begin:end].tobytes() for begin, end in zip(begins, self.ends, strict=True)]
        words = Words(questions, (UNSAID,) * len(questions))
        images = choose(EncodedImages(content, name), self.shows)
        return ExampleTable(name, images, np.zeros(len(questions), dtype=np.int64), ("question",), words=words)

    def _asked(self, name: str) -> tuple[str, ...]:
        try:
            found = json.loads(self.questions.tobytes())
        except ValueError:
            found = None
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise SynopticError(f"the questions of {name} are no JSON list of texts", "send them again")
        return tuple(found)

    def _fits(self, begins: Ints) -> bool:
        whole = ((self.ends, np.int64), (self.shows, np.int64), (self.pictures, np.uint8))
        if not len(self.ends) or any(one.ndim != 1 or one.dtype != kind for one, kind in whole):
            return False
        apart = self.ends[-1] == len(self.pictures) and bool((self.ends > begins).all())
        return apart and _within(self.shows, len(self.ends))


def pack(table: ExampleTable) -> Parcel:
    """All rows of a table of questions; pictures that are encoded stay so, others become PNG, which loses nothing."""
    if table.words is None:
        raise SynopticError(f"{table.name} asks no questions", "use data with questions")
    first, shows = table.distinct(np.arange(len(table)))
    content = [one for start in range(0, len(first), _AT_ONCE)
               for one in _encoded(table.images, first[start : start + _AT_ONCE])]  # fmt: skip
    ends = np.cumsum([len(one) for one in content]).astype(np.int64)
    pictures = np.frombuffer(b"".join(content), dtype=np.uint8).copy()
    questions = np.frombuffer(json.dumps(list(table.words.questions)).encode(), dtype=np.uint8).copy()
    return Parcel(pictures, ends, shows.astype(np.int64), questions)


def _encoded(images: ImageStore, positions: Ints) -> list[bytes]:
    if isinstance(images, ChosenImages):
        return _encoded(images.store, images.chosen[positions])
    if isinstance(images, EncodedImages):
        return [images.content[int(place)] for place in positions]
    return [_png(picture) for picture in images.load(positions)]


def _png(picture: Image.Image | NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(file, "PNG")
    return file.getvalue()


def _within(values: Ints, count: int) -> bool:
    return not len(values) or bool(values.min() >= 0 and values.max() < count)
