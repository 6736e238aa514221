from __future__ import annotations

import numpy as np
import pytest

from synoptic.core import SynopticError
from synoptic.data import digits, glyphs, raster


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_same_seed_same_batch() -> None:
    first, words = glyphs.pretraining_batch(rng(1), 300)
    again, same_words = glyphs.pretraining_batch(rng(1), 300)
    assert first.shape == (300, 32, 32, 3)
    assert np.array_equal(first, again)
    assert words == same_words
    assert not np.array_equal(first, glyphs.pretraining_batch(rng(2), 300)[0])


def test_captions_name_the_character() -> None:
    characters = np.arange(len(glyphs.CHARACTERS))
    for index, text in zip(characters, glyphs.caption(characters, rng()), strict=True):
        name = glyphs.DIGITS[index] if index < 10 else glyphs.CHARACTERS[index].lower()
        assert name in text.replace(".", "").split()
        if "capital" in text:
            assert glyphs.CHARACTERS[index].isupper()
        if "small" in text:
            assert glyphs.CHARACTERS[index].islower()


def test_vocabulary_covers_captions_and_prompts() -> None:
    known = set(glyphs.vocabulary())
    _, captions = glyphs.pretraining_batch(rng(), 500)
    captions += [digits.TEMPLATE.format(name) for name in digits.CLASS_NAMES]
    assert {word for text in captions for word in text.replace(".", " . ").split()} <= known


def test_positions_understand_words_digits_and_letters() -> None:
    assert glyphs.positions(["seven", "7", "b"]).tolist() == [7, 7, 11]
    with pytest.raises(SynopticError, match="no glyph is called 'o'"):
        glyphs.positions(["o"])


def test_glyphs_teach_real_digits() -> None:
    """The mean glyph of each digit alone must read far more of the real digits than chance (10 %)."""
    labels = np.repeat(np.arange(10), 200)
    drawn = glyphs.render(labels, rng())[..., 0].astype(np.float64)
    real, truth = digits.load()
    seen = real[..., 0].astype(np.float64)

    def shape_of(pictures: np.ndarray) -> np.ndarray:
        small = pictures.reshape(len(pictures), 8, 4, 8, 4).mean((2, 4)).reshape(len(pictures), -1)
        small = small - small.mean(1, keepdims=True)
        return small / np.linalg.norm(small, axis=1, keepdims=True)

    # Either polarity: a dark-on-light glyph is the negative of a light-on-dark one.
    features = shape_of(drawn)
    light = np.sign(drawn[:, 12:20, 12:20].mean((1, 2)) - drawn[:, :2].mean((1, 2)))[:, None]
    means = np.stack([(features * light)[labels == digit].mean(0) for digit in range(10)])
    guess = (shape_of(seen) @ means.T).argmax(1)
    assert (guess == truth).mean() > 0.35


def test_digits_are_the_real_ones_enlarged() -> None:
    from sklearn.datasets import load_digits

    pictures, labels = digits.load()
    assert pictures.shape == (1797, 32, 32, 3)
    assert np.array_equal(labels, load_digits().target)
    small = pictures[..., 0].reshape(-1, 8, 4, 8, 4).mean((2, 4))
    correlation = np.corrcoef(small.ravel(), load_digits().images.ravel())[0, 1]
    assert correlation > 0.95


def test_digit_split_is_stratified_and_disjoint() -> None:
    train, test = digits.split()
    _, labels = digits.load()
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(1797))
    share = np.bincount(labels[test]) / np.bincount(labels)
    assert np.allclose(share, 0.2, atol=0.01)


@pytest.mark.parametrize(("source", "target"), [(32, 8), (32, 11), (32, 32)])
def test_shrinking_keeps_the_mean(source: int, target: int) -> None:
    matrix = raster.shrink_matrix(source, target)
    assert np.allclose(matrix.sum(1), 1, atol=1e-6)
    assert np.allclose(matrix.sum(0), target / source, atol=1e-6)


def test_enlarging_is_interpolation() -> None:
    assert np.allclose(raster.enlarge_matrix(8, 32).sum(1), 1)
    assert np.array_equal(raster.enlarge_matrix(5, 5), np.eye(5, dtype=np.float32))
    flat = raster.enlarge(np.full((1, 8, 8), 3, dtype=np.float32), 32)
    assert np.allclose(flat, 3)
