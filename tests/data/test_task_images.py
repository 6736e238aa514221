from __future__ import annotations

import numpy as np
from PIL import Image

from synoptic.data.images import ArrayImages, choose
from synoptic.data.task_images import JoinedImages, TextPatterns, joined


def small(n: int, size: int, seed: int = 0) -> ArrayImages:
    return ArrayImages(np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8))


def test_patterns_are_the_same_exactly_if_the_texts_are() -> None:
    store = TextPatterns(("a star", "a ring", "a star"))
    shown = store.load(np.arange(3))
    assert shown.shape == (3, 4, 4, 3)
    assert np.array_equal(shown[0], shown[2])
    assert not np.array_equal(shown[0], shown[1])
    assert store.signatures(np.array([2, 0, 1]))[:2] == [store.signatures(np.array([0]))[0]] * 2
    assert store.fingerprint == TextPatterns(("a star", "a ring", "a star")).fingerprint
    assert store.fingerprint != TextPatterns(("a star", "a ring")).fingerprint
    assert store.load(np.zeros(0, dtype=np.int64)).shape == (0, 4, 4, 3)


def test_arrays_of_one_size_are_joined_and_others_are_looked_up() -> None:
    one, other, large = small(3, 4), small(2, 4, 1), small(2, 8, 2)
    assert isinstance(joined([one, other]), ArrayImages)
    store = joined([one, choose(large, np.array([1])), TextPatterns(("a", "b"))])
    assert isinstance(store, JoinedImages)
    assert len(store) == 6
    assert np.array_equal(store.load(np.array([2, 0])), one.array[[2, 0]]), "pictures of one store stay an array"
    mixed = store.load(np.array([3, 1, 5]))
    assert [np.asarray(picture).shape for picture in mixed] == [(8, 8, 3), (4, 4, 3), (4, 4, 3)]
    assert isinstance(mixed[0], Image.Image)
    assert np.array_equal(np.asarray(mixed[0]), large.array[1])
    assert len(store.load(np.zeros(0, dtype=np.int64))) == 0


def test_signatures_and_fingerprint_follow_the_stores() -> None:
    one, other = small(3, 4), small(2, 8, 1)
    store = JoinedImages((one, other))
    assert store.signatures(np.array([4, 0])) == [*other.signatures(np.array([1])), *one.signatures(np.array([0]))]
    assert store.fingerprint != JoinedImages((other, one)).fingerprint
