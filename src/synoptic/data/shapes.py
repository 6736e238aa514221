"""Sixteen shapes as signed distance fields: negative inside, positive outside, in units of the shape's radius.

A field is sampled once on a grid over [-EXTENT, EXTENT]^2 and then looked up at rotated, scaled and shifted
coordinates, so one vectorised lookup draws any mixture of shapes, anti-aliased.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

SHAPES: Final = (
    "circle", "square", "triangle", "star", "cross", "diamond", "heart", "crescent",
    "ring", "arrow", "hexagon", "oval", "hourglass", "frame", "dome", "drop",
)  # fmt: skip
EXTENT: Final = 2.0
GRID: Final = 97  # samples per axis: 24 per radius, finer than any pixel of a 32x32 image


@lru_cache(maxsize=1)
def distance_fields() -> Floats:
    """Fields of all shapes, float32 [16, GRID, GRID], row = y (downwards), column = x."""
    axis = np.linspace(-EXTENT, EXTENT, GRID)
    x, y = np.meshgrid(axis, axis)
    circle = np.hypot(x, y) - 0.95
    square = _polygon(x, y, _corners(0.82, 0.82))
    fields = {
        "circle": circle,
        "square": square,
        "triangle": _polygon(x, y, [(0, -1.0), (1.0, 0.8), (-1.0, 0.8)]),
        "star": _polygon(x, y, _star(5, 1.1, 0.45)),
        "cross": _polygon(x, y, _plus(1.0, 0.33)),
        "diamond": _polygon(x, y, [(0, -1.1), (0.8, 0), (0, 1.1), (-0.8, 0)]),
        "heart": _polygon(x, y, _heart()),
        "crescent": np.maximum(circle, 0.8 - np.hypot(x - 0.5, y)),
        "ring": np.abs(circle + 0.22) - 0.22,
        "arrow": _polygon(x, y, _arrow()),
        "hexagon": _polygon(x, y, _star(6, 1.05, 1.05 * np.cos(np.pi / 6))),
        "oval": _polygon(x, y, [(1.15 * np.cos(t), 0.6 * np.sin(t)) for t in _turn(32)]),
        "hourglass": _polygon(x, y, [(-0.85, -1), (0.85, -1), (0.12, 0), (0.85, 1), (-0.85, 1), (-0.12, 0)]),
        "frame": np.abs(square + 0.2) - 0.2,
        "dome": _polygon(x, y, [(1.1 * np.cos(t), 0.55 - 1.15 * np.sin(t)) for t in np.linspace(0, np.pi, 24)]),
        "drop": _polygon(x, y, [(0, -1.2), *((0.75 * np.cos(t), 0.4 + 0.75 * np.sin(t)) for t in _drop_arc())]),
    }
    return np.stack([fields[name] for name in SHAPES]).astype(np.float32)


def lookup(table: Floats, which: NDArray[np.int64], u: Floats, v: Floats, extent: float = EXTENT) -> Floats:
    """Bilinear samples of ``table[which]`` ([m, g, g] over [-extent, extent]^2) at ``u, v`` [n, h, w]; edges clamp."""
    size = table.shape[-1]
    column = np.clip((u + extent) * ((size - 1) / (2 * extent)), 0, size - 1.001)
    row = np.clip((v + extent) * ((size - 1) / (2 * extent)), 0, size - 1.001)
    left, top = column.astype(np.int32), row.astype(np.int32)
    across, down = column - left, row - top
    flat = table.reshape(-1)
    at = which.astype(np.int32)[:, None, None] * (size * size) + top * size + left
    upper = flat[at] * (1 - across) + flat[at + 1] * across
    lower = flat[at + size] * (1 - across) + flat[at + size + 1] * across
    return np.asarray(upper * (1 - down) + lower * down, dtype=np.float32)


def _turn(steps: int) -> NDArray[np.float64]:
    return np.linspace(0, 2 * np.pi, steps, endpoint=False)


def _drop_arc() -> NDArray[np.float64]:
    return np.linspace(-0.35, np.pi + 0.35, 24)


def _corners(width: float, height: float) -> list[tuple[float, float]]:
    return [(-width, -height), (width, -height), (width, height), (-width, height)]


def _star(points: int, outer: float, inner: float) -> list[tuple[float, float]]:
    radii = [outer, inner] * points
    return [(r * np.sin(t), -r * np.cos(t)) for r, t in zip(radii, _turn(2 * points), strict=True)]


def _plus(long: float, thin: float) -> list[tuple[float, float]]:
    arm = [(thin, -long), (thin, -thin), (long, -thin)]
    return [*arm, *((-y, x) for x, y in arm), *((-x, -y) for x, y in arm), *((y, -x) for x, y in arm)]


def _arrow() -> list[tuple[float, float]]:
    return [(-1.1, -0.28), (0.1, -0.28), (0.1, -0.85), (1.15, 0), (0.1, 0.85), (0.1, 0.28), (-1.1, 0.28)]


def _heart() -> list[tuple[float, float]]:
    t = _turn(40)
    across = 16 * np.sin(t) ** 3
    up = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return [(float(a) / 16, -float(b) / 15) for a, b in zip(across, up, strict=True)]


def _polygon(x: NDArray[np.float64], y: NDArray[np.float64], corners: list[tuple[float, float]]) -> NDArray[np.float64]:
    """Signed distance of every grid point to a simple polygon (distance to edges, sign by crossing number)."""
    nearest = np.full_like(x, np.inf)
    inside = np.zeros(x.shape, dtype=bool)
    for (ax, ay), (bx, by) in zip(corners, [*corners[1:], corners[0]], strict=True):
        dx, dy = bx - ax, by - ay
        along = np.clip(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy + 1e-12), 0, 1)
        nearest = np.minimum(nearest, np.hypot(x - ax - along * dx, y - ay - along * dy))
        if dy != 0:
            spans = (ay > y) != (by > y)
            inside ^= spans & (x < ax + (y - ay) * dx / dy)
    return np.where(inside, -nearest, nearest)
