"""Resizing as small matrices: shrink by area, enlarge smoothly, or both in one product (a low-resolution twin)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


@lru_cache(maxsize=64)
def shrink_matrix(source: int, target: int) -> Floats:
    """Area averaging from ``source`` to ``target`` samples, float32 [target, source]; rows sum to one."""
    edges = np.arange(target + 1) * (source / target)
    cells = np.arange(source)
    overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    return np.asarray(np.clip(overlap, 0, None) * (target / source), dtype=np.float32)


@lru_cache(maxsize=64)
def enlarge_matrix(source: int, target: int) -> Floats:
    """Linear interpolation between sample centres, float32 [target, source]; edges clamp, rows sum to one."""
    position = np.clip((np.arange(target) + 0.5) * (source / target) - 0.5, 0, source - 1)
    weight = np.clip(1 - np.abs(position[:, None] - np.arange(source)), 0, 1)
    return np.asarray(weight, dtype=np.float32)


def enlarge(pictures: Floats, size: int) -> Floats:
    """Smoothly enlarge ``[n, h, w]`` to ``[n, size, size]``."""
    down, across = enlarge_matrix(pictures.shape[1], size), enlarge_matrix(pictures.shape[2], size)
    return np.asarray(down @ pictures @ across.T, dtype=np.float32)


@lru_cache(maxsize=8)
def degrade_matrices(size: int, smallest: int) -> Floats:
    """``[size - smallest + 1, size, size]``: entry i shrinks to ``smallest + i`` samples and enlarges again."""
    return np.stack([enlarge_matrix(m, size) @ shrink_matrix(size, m) for m in range(smallest, size + 1)])
