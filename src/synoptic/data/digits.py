"""scikit-learn's digits: 1,797 real handwritten digits, 8x8 with 17 grey levels (UCI, Alpaydin & Kaynak 1998).

The pictures are kept light on dark, as in the source, and enlarged here once to 32x32 by linear interpolation: the
same map that `synoptic.data.glyphs` uses, so a model pre-trained on glyphs meets the enlargement it knows.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from synoptic.core.seeds import numpy_generator
from synoptic.data.glyphs import DIGITS, SIZE
from synoptic.data.raster import enlarge

CLASS_NAMES: Final = DIGITS
TEMPLATE: Final = "the digit {}."


@lru_cache(maxsize=1)
def load() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All pictures, uint8 [1797, 32, 32, 3], and their digits, int64 [1797], in the source's order."""
    from sklearn.datasets import load_digits

    source = load_digits()
    small = source.images.astype(np.float32) / 16
    pictures = np.clip(enlarge(small, SIZE) * 255 + 0.5, 0, 255).astype(np.uint8)
    return np.repeat(pictures[..., None], 3, axis=-1), source.target.astype(np.int64)


@lru_cache(maxsize=1)
def split() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ascending positions of the fixed train (80 %) and test (20 %) parts, stratified by digit.

    The split is part of the data set: it does not depend on a run's seed, so numbers stay comparable.
    """
    _, labels = load()
    order = numpy_generator(0, "digits", "split").permutation(len(labels))
    test = np.concatenate([rows[: round(0.2 * len(rows))] for rows in (order[labels[order] == d] for d in range(10))])
    held = np.zeros(len(labels), dtype=bool)
    held[test] = True
    return np.flatnonzero(~held), np.flatnonzero(held)
