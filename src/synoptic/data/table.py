"""A labelled set of pictures, perhaps with words: pixels stay in their store, labels and domains are arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from synoptic.core.errors import SynopticError
from synoptic.core.files import digest
from synoptic.data.images import ArrayImages, ChosenImages, EncodedImages, FileImages, ImageStore, choose
from synoptic.data.words import Words

__all__ = ["ArrayImages", "ChosenImages", "EncodedImages", "ExampleTable", "FileImages", "ImageStore", "Words"]

Ints = NDArray[np.int64]
_DECODED_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class ExampleTable:
    """n labelled pictures; with ``words``, n questions about pictures, of which several may share one picture.

    Attributes:
        name: for people, such as "digits/train".
        images: the store of n pictures.
        labels: int64 [n], indices into ``class_names``; of questions, what a partition skews: their kinds or answers.
        class_names: words, such as "red circle".
        domains: int64 [n], indices into ``domain_names``, or None where the source knows no domains.
        domain_names: words; empty without domains.
        words: what is asked about each picture and what is said, or None for a table of classes.

    """

    name: str
    images: ImageStore
    labels: Ints
    class_names: tuple[str, ...]
    domains: Ints | None = None
    domain_names: tuple[str, ...] = ()
    words: Words | None = None

    def __post_init__(self) -> None:
        n = len(self.images)
        if len(self.labels) != n or (self.domains is not None and len(self.domains) != n):
            raise SynopticError(f"{self.name} has {n} images but {len(self.labels)} labels", "give one of each per row")
        if self.words is not None and len(self.words) != n:
            raise SynopticError(
                f"{self.name} has {n} images but {len(self.words)} questions", "give one of each per row"
            )
        _check_indices(self.name, "label", self.labels, len(self.class_names))
        if self.domains is not None:
            _check_indices(self.name, "domain", self.domains, len(self.domain_names))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def asks(self) -> bool:
        """Whether rows are questions with answers; else they are pictures with classes."""
        return self.words is not None

    @cached_property
    def fingerprint(self) -> str:
        """Identity of pictures, labels and words, 16 hex digits; cheap, for it decodes nothing."""
        domains = self.domains if self.domains is not None else np.zeros(0, dtype=np.int64)
        names = "\x1f".join([*self.class_names, "", *self.domain_names])
        words = [] if self.words is None else [self.words.fingerprint]
        return digest(self.images.fingerprint, self.labels, domains, names, *words)

    def take(self, positions: Ints) -> ExampleTable:
        """The examples at ``positions``, in that order; no picture is copied."""
        domains = None if self.domains is None else self.domains[positions]
        words = None if self.words is None else self.words.take(positions)
        labels = self.labels[positions]
        return replace(self, images=choose(self.images, positions), labels=labels, domains=domains, words=words)

    def content_hashes(self, positions: Ints) -> list[str]:
        """Hashes of decoded pixels (size included), to find the same picture in two tables however it is encoded."""
        first, place = self.distinct(positions)
        hashes: list[str] = []
        for start in range(0, len(first), _DECODED_AT_ONCE):
            pictures = self.images.load(first[start : start + _DECODED_AT_ONCE])
            hashes.extend(digest(np.asarray(picture)) for picture in pictures)
        return [hashes[p] for p in place]

    def signatures(self, positions: Ints) -> list[str]:
        """Hashes of the pictures as they are stored, without decoding."""
        first, place = self.distinct(positions)
        found = self.images.signatures(first)
        return [found[p] for p in place]

    def distinct(self, positions: Ints) -> tuple[Ints, Ints]:
        """One position for each stored picture among ``positions``, and for each of them the place of its own there.

        Many questions may share a picture, which then is read once. Copies that are stored apart count as different.
        """
        if not isinstance(self.images, ChosenImages):
            return positions, np.arange(len(positions))
        _, first, place = np.unique(self.images.chosen[positions], return_index=True, return_inverse=True)
        return positions[first], place


def _check_indices(table: str, what: str, values: Ints, names: int) -> None:
    if len(values) and (values.min() < 0 or values.max() >= names):
        wrong = int(np.flatnonzero((values < 0) | (values >= names))[0])
        raise SynopticError(f"row {wrong} of {table} has {what} {values[wrong]}, but there are {names} {what} names")
