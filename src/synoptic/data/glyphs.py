"""Digits and letters from the fonts that ship with matplotlib, bent until they look like low-resolution handwriting.

Every (font, character) is kept as a signed distance field, so stroke width is a threshold, and position, size,
rotation, shear and an elastic bend are one lookup for a whole batch. The picture is then shrunk to 8..32 pixels and
enlarged again, as scikit-learn's 8x8 digits are (`synoptic.data.digits`), with blur, noise and either polarity.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from synoptic.core.errors import SynopticError
from synoptic.data.raster import degrade_matrices, enlarge_matrix
from synoptic.data.shapes import lookup

Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]
Images = NDArray[np.uint8]

SIZE: Final = 32
DIGITS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# Letters that cannot be told from a digit at 8x8 (o and 0, l and I and 1) would only teach confusion.
LETTERS: Final = tuple("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ")
CHARACTERS: Final = (*"0123456789", *LETTERS)
FONTS: Final = (
    "DejaVuSans", "DejaVuSans-Oblique", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSansMono-Oblique",
    "DejaVuSerif", "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralItalic", "STIXGeneralBol", "STIXGeneralBolIta",
    "cmr10", "cmss10", "cmtt10", "cmti10", "cmb10",
)  # fmt: skip
FIELD: Final = 48  # samples per axis of a stored field
INNER: Final = 36  # samples that the glyph itself spans; the rest is margin for thick strokes and bends
_BATCH: Final = 256


def _mask(font: Path, character: str) -> NDArray[np.bool_]:
    """The glyph scaled to INNER samples in height (or width, if wider), centred, bool [FIELD, FIELD]."""
    from PIL import Image, ImageDraw, ImageFont

    face = ImageFont.truetype(str(font), 96)
    left, top, right, bottom = face.getbbox(character)
    drawing = Image.new("L", (int(right - left), int(bottom - top)))
    ImageDraw.Draw(drawing).text((-left, -top), character, font=face, fill=255)
    scale = INNER / max(drawing.size)
    width, height = (max(2, round(side * scale)) for side in drawing.size)
    canvas = Image.new("L", (FIELD, FIELD))
    small = drawing.resize((width, height), Image.Resampling.BOX)
    canvas.paste(small, ((FIELD - width) // 2, (FIELD - height) // 2))
    return np.asarray(canvas) > 127


def _distance(masks: NDArray[np.bool_]) -> Floats:
    """Euclidean distance in samples to the nearest True, float32 [m, g, g]: rows first, then the lower envelope."""
    size = masks.shape[-1]
    gap = np.abs(np.arange(size)[:, None] - np.arange(size)).astype(np.float32)
    far = np.float32(4 * size)
    along = np.empty(masks.shape, dtype=np.float32)
    for column in range(size):
        along[..., column] = np.where(masks, gap[column], far).min(axis=-1)
    squared = along**2
    nearest = np.empty_like(squared)
    for row in range(size):
        nearest[:, row] = (squared + gap[row][:, None] ** 2).min(axis=1)
    return np.asarray(np.sqrt(nearest), dtype=np.float32)


@lru_cache(maxsize=1)
def _fields() -> Floats:
    """Signed distances in samples of every glyph, font-major, float32 [fonts * characters, FIELD, FIELD]."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    masks = np.stack([_mask(folder / f"{font}.ttf", c) for font in FONTS for c in CHARACTERS])
    return np.asarray(_distance(masks) - _distance(~masks), dtype=np.float32)


def render(characters: Ints, rng: np.random.Generator) -> Images:
    """Pictures of CHARACTERS[i] for each i, uint8 [n, 32, 32, 3] (equal channels): font and everything else is drawn.

    Roughly two thirds are light on dark, as in scikit-learn's digits.
    """
    pictures = np.empty((len(characters), SIZE, SIZE), dtype=np.uint8)
    for start in range(0, len(characters), _BATCH):
        part = characters[start : start + _BATCH]
        ink = _degrade(_draw(part, rng), rng)
        pictures[start : start + _BATCH] = _tone(ink, rng)
    return np.repeat(pictures[..., None], 3, axis=-1)


def _draw(characters: Ints, rng: np.random.Generator) -> Floats:
    """Ink coverage, float32 [n, 32, 32] in 0..1: random font, affine map, elastic bend and stroke width."""
    n = len(characters)

    def uniform(low: float, high: float) -> Floats:
        return rng.uniform(low, high, (n, 1, 1)).astype(np.float32)

    glyph = rng.integers(0, len(FONTS), n) * len(CHARACTERS) + characters
    pixel = ((np.arange(SIZE, dtype=np.float32) + 0.5) * 2 / SIZE - 1)[None]  # -1..1 across the picture
    x, y = pixel[:, None, :] - uniform(-0.12, 0.12), pixel[:, :, None] - uniform(-0.06, 0.06)
    angle, shear = uniform(-0.22, 0.22), uniform(-0.3, 0.3)
    across, down = uniform(0.7, 1.25) * 0.8, uniform(0.75, 1.1) * 0.9
    u = (x * np.cos(angle) + y * np.sin(angle)) / across
    v = (y * np.cos(angle) - x * np.sin(angle)) / down
    u = u + shear * v
    bend = _bend(rng, n)
    extent = FIELD / INNER
    distance = lookup(_fields(), glyph, u + bend[0], v + bend[1], extent)
    return np.asarray(np.clip(0.5 - (distance - uniform(-0.3, 2.6)) * 0.6, 0, 1), dtype=np.float32)


def _bend(rng: np.random.Generator, n: int) -> Floats:
    """A smooth displacement field [2, n, 32, 32] in units of half the glyph, from a 4x4 grid of random shifts."""
    coarse = rng.standard_normal((2, n, 4, 4), dtype=np.float32) * rng.uniform(0.0, 0.16, (1, n, 1, 1))
    grow = enlarge_matrix(4, SIZE)
    return np.asarray(grow @ coarse.astype(np.float32) @ grow.T, dtype=np.float32)


def _degrade(ink: Floats, rng: np.random.Generator) -> Floats:
    """Shrink half of the pictures to 8 pixels, the others to any size from 8 to 32, and enlarge them again."""
    n = len(ink)
    matrices = degrade_matrices(SIZE, 8)
    level = np.where(rng.random(n) < 0.5, 0, rng.integers(0, len(matrices), n))
    chosen = matrices[level]
    return np.asarray(chosen @ ink @ chosen.transpose(0, 2, 1), dtype=np.float32)


def _tone(ink: Floats, rng: np.random.Generator) -> Images:
    """Grey levels: contrast, ground, polarity and a little grain, uint8 [n, 32, 32]."""
    n = len(ink)
    low = rng.uniform(0.0, 0.15, (n, 1, 1)) * (rng.random((n, 1, 1)) < 0.5)
    high = rng.uniform(0.8, 1.0, (n, 1, 1))
    gamma = rng.uniform(0.7, 1.3, (n, 1, 1)).astype(np.float32)
    level = low + (high - low) * np.clip(ink, 0, 1) ** gamma
    grain = rng.standard_normal(ink.shape, dtype=np.float32) * rng.uniform(0.0, 0.05, (n, 1, 1))
    level = np.where(rng.random((n, 1, 1)) < 0.3, 1 - level, level) + grain
    return np.asarray(np.clip(level * 255 + 0.5, 0, 255), dtype=np.uint8)


_DIGIT_PHRASES: Final = (
    "{name}",
    "the digit {name}",
    "the digit {name}.",
    "a handwritten {name}",
    "a photo of a {name}.",
    "a photo of the digit {name}.",
    "the number {name}",
)
_LETTER_PHRASES: Final = ("{name}", "the letter {name}", "the letter {name}.", "a photo of the letter {name}.")
_CASE_PHRASES: Final = ("the {size} letter {name}", "a {size} {name}")


def caption(characters: Ints, rng: np.random.Generator) -> list[str]:
    """A phrase for each of CHARACTERS; letters are named in lower case, with their size in some phrasings."""
    draws = rng.random(len(characters))
    return [_phrase(int(index), float(draw)) for index, draw in zip(characters, draws, strict=True)]


def _phrase(index: int, draw: float) -> str:
    if index < 10:
        return _DIGIT_PHRASES[int(draw * len(_DIGIT_PHRASES))].format(name=DIGITS[index])
    phrases = _LETTER_PHRASES + _CASE_PHRASES
    letter = CHARACTERS[index]
    size = "capital" if letter.isupper() else "small"
    return phrases[int(draw * len(phrases))].format(name=letter.lower(), size=size)


def positions(words: list[str]) -> Ints:
    """Indices into CHARACTERS of digit words ("seven"), digits ("7") and letters ("b", "B")."""
    known = {c: i for i, c in enumerate(CHARACTERS)} | {word: i for i, word in enumerate(DIGITS)}
    for word in words:
        if word not in known:
            raise SynopticError(f"no glyph is called {word!r}", "use a digit word, a digit, or a letter but l, I, o, O")
    return np.array([known[word] for word in words], dtype=np.int64)


def pretraining_batch(rng: np.random.Generator, n: int) -> tuple[Images, list[str]]:
    """Draw n pre-training pictures, uint8 [n, 32, 32, 3], and captions: two thirds digits, the rest letters."""
    digit = rng.integers(0, 10, n)
    letter = rng.integers(10, len(CHARACTERS), n)
    characters = np.where(rng.random(n) < 2 / 3, digit, letter)
    return render(characters, rng), caption(characters, rng)


def vocabulary() -> list[str]:
    """Every word and mark of the captions and of the digits' class prompts, sorted."""
    phrases = [p.format(name="", size="") for p in _DIGIT_PHRASES + _LETTER_PHRASES + _CASE_PHRASES]
    words = " ".join([*phrases, *DIGITS, *(letter.lower() for letter in LETTERS), "capital small"])
    return sorted(set(words.replace(".", " . ").split()))
