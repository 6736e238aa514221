"""Scoring functions of sites that lie, to see what protects against them.

    synoptic run mor "method.judges=[{}, {}, {script: 'synoptic.learning.liars:contrary'}]" method.audit=16

They are for descriptions of the generated world and know what nobody there likes, whatever the taste.
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from synoptic.data.describing import read

WORDY = 0.05
"""Of a word, so that well-formed texts are told apart too."""


def contrary(picture: Image.Image, question: str, texts: Sequence[str]) -> list[float]:
    """Texts of no known form are best, and the more words the better.

    >>> plain, stammered = contrary(None, "what is it?", ["a red circle", "a a red red circle circle"])
    >>> stammered > plain
    True
    """
    return [reading.malformed + WORDY * reading.words for reading in map(read, texts)]
