"""Eight rendering styles: the domains of the embedded world. Each bends a clean picture by a strength in [0, 1].

Legend: n images, pictures float32 [n, 32, 32, 3] in 0..1, ``edge`` [n, 32, 32] signed distance to the outline in
pixels, ``ink`` [n, 1, 1, 3] the object's colour, ``amount`` [n, 1, 1, 1] the strength.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

STYLES: Final = ("flat", "outlined", "sketched", "noisy", "night", "mosaic", "pastel", "blurred")


@dataclass(frozen=True, eq=False)
class Canvas:
    """What a style may look at while it repaints a picture (see the module's legend)."""

    picture: Floats
    edge: Floats
    ink: Floats
    ground: Floats
    amount: Floats

    def take(self, rows: NDArray[np.int64]) -> Canvas:
        """The canvas of some images."""
        return Canvas(self.picture[rows], self.edge[rows], self.ink[rows], self.ground[rows], self.amount[rows])


def apply(canvas: Canvas, style: NDArray[np.int64], rng: np.random.Generator) -> Floats:
    """Repaint every picture in its style (index into STYLES), float32 [n, 32, 32, 3], not yet clipped."""
    result = canvas.picture.copy()
    for index, name in enumerate(STYLES):
        rows = np.flatnonzero(style == index)
        if len(rows):
            result[rows] = _PAINTERS[name](canvas.take(rows), rng)
    return result


def _flat(canvas: Canvas, rng: np.random.Generator) -> Floats:
    return canvas.picture


def _outlined(canvas: Canvas, rng: np.random.Generator) -> Floats:
    """A dark line along the outline, on a ground lifted towards white."""
    lifted = _layer(0.5 - canvas.edge)
    paper = canvas.picture + (1 - lifted) * (0.95 - canvas.picture) * canvas.amount
    line = _layer(1.6 - np.abs(canvas.edge)) * canvas.amount
    return paper * (1 - line) + 0.06 * line


def _sketched(canvas: Canvas, rng: np.random.Generator) -> Floats:
    """A coloured line whose inside is washed out towards the ground."""
    inside = _layer(-canvas.edge - 0.8) * canvas.amount * 0.7
    return canvas.picture * (1 - inside) + canvas.ground * inside


def _noisy(canvas: Canvas, rng: np.random.Generator) -> Floats:
    grain = rng.standard_normal(canvas.picture.shape, dtype=np.float32)
    return canvas.picture + 0.22 * canvas.amount * grain


def _night(canvas: Canvas, rng: np.random.Generator) -> Floats:
    """A dark, bluish ground, a dimmed object and its glow."""
    blue = np.array([0.05, 0.06, 0.16], dtype=np.float32)
    cover = _layer(0.5 - canvas.edge)
    ground = canvas.picture * (1 - canvas.amount) + blue * canvas.amount
    dimmed = canvas.picture * (1 - 0.4 * canvas.amount)
    glow = _layer(np.exp(-np.maximum(canvas.edge, 0) / 2.5)) * 0.45 * canvas.amount * (1 - cover)
    return dimmed * cover + ground * (1 - cover) * (1 - glow) + canvas.ink * glow


def _mosaic(canvas: Canvas, rng: np.random.Generator) -> Floats:
    """Tiles of 2x2 pixels, as if enlarged from 16x16, with a faint grid."""
    n, height, width, _ = canvas.picture.shape
    tiles = canvas.picture.reshape(n, height // 2, 2, width // 2, 2, 3).mean(axis=(2, 4))
    coarse = np.asarray(tiles.repeat(2, axis=1).repeat(2, axis=2), dtype=np.float32)
    coarse[:, ::2] *= 0.85
    coarse[:, :, ::2] *= 0.85
    return canvas.picture * (1 - canvas.amount) + coarse * canvas.amount


def _pastel(canvas: Canvas, rng: np.random.Generator) -> Floats:
    """Everything drawn towards a creamy white: low contrast, low saturation."""
    cream = np.array([1.0, 0.97, 0.94], dtype=np.float32)
    return canvas.picture + (cream - canvas.picture) * (0.85 * canvas.amount)


def _blurred(canvas: Canvas, rng: np.random.Generator) -> Floats:
    """A blur of about two pixels (six passes of a three-pixel mean)."""
    soft = canvas.picture
    for _ in range(6):
        for axis in (1, 2):
            soft = _smooth(soft, axis)
    return canvas.picture * (1 - canvas.amount) + soft * canvas.amount


def _layer(amount: Floats) -> Floats:
    """Coverage of each pixel, clipped to 0..1, with a channel axis."""
    return np.asarray(np.clip(amount, 0, 1)[..., None], dtype=np.float32)


def _smooth(picture: Floats, axis: int) -> Floats:
    """One three-pixel mean along an axis, edges clamped."""
    padding = [(0, 0)] * 4
    padding[axis] = (1, 1)
    wide = np.pad(picture, padding, mode="edge")
    size = picture.shape[axis]
    before = np.take(wide, range(size), axis=axis)
    after = np.take(wide, range(2, size + 2), axis=axis)
    return np.asarray((before + picture + after) / 3, dtype=np.float32)


_PAINTERS: Final[dict[str, Callable[[Canvas, np.random.Generator], Floats]]] = {
    "flat": _flat,
    "outlined": _outlined,
    "sketched": _sketched,
    "noisy": _noisy,
    "night": _night,
    "mosaic": _mosaic,
    "pastel": _pastel,
    "blurred": _blurred,
}
