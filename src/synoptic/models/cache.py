"""The prefix cache: what the frozen part computes is computed once per image for a whole run.

Examples are computed in fixed blocks of neighbours, whoever asks first, so a cached value is a pure function of the
example and never of the order in which clients happened to train: a resumed run sees the same bits. Values rest in
memory up to a byte budget, after that in a file of the same block layout, never recomputed.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synoptic.core import SynopticError

BLOCK = 32
"""Examples computed together. Small enough that a client with few examples wastes little, large enough to be fast."""

MARGIN = 2**26
"""Bytes of disk that spilling leaves free."""

CURE = "set compute.cache_dir to a folder with room, or compute.cache=false"

UNITS = {"": 1, "B": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def parse_bytes(text: str | int) -> int:
    """Bytes of a size such as ``2GiB``, ``500 MB`` or ``1000``.

    >>> parse_bytes("2KiB")
    2048
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(text))
    if match is None or match[2].upper() not in UNITS:
        raise SynopticError(f"'{text}' is not a size", "write it like 500MB or 2GiB")
    return int(float(match[1]) * UNITS[match[2].upper()])


class Budget:
    """Bytes of memory that several caches share, and the folder they spill to."""

    def __init__(self, memory: int, folder: Path | None = None) -> None:
        self.free = memory
        self._folder = folder
        self._own: tempfile.TemporaryDirectory[str] | None = None

    @property
    def folder(self) -> Path:
        """Where to spill: the user's folder, or a temporary one that goes with the process."""
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            return self._folder
        if self._own is None:
            self._own = tempfile.TemporaryDirectory(prefix="synoptic-cache-")
        return Path(self._own.name)


class PrefixCache:
    """Rows of one frozen computation over one table of examples.

    Args:
        key: identity of (weights, preprocessing, depth, table); begins the spill file's name where it needs one.
        compute: positions ``[n]`` -> rows ``[n, ...]`` float32; called with whole blocks of ``order``.
        order: all positions that will ever be asked for, in the order that makes neighbours likely together.
        budget: shared memory budget.
        starts: places in ``order`` where a new neighbourhood begins (a client's first example, say); no block reaches
            across, so whoever needs one neighbourhood computes nothing of the next.
    """

    def __init__(
        self, key: str, compute: Callable[[NDArray[np.int64]], Tensor], order: NDArray[np.int64], budget: Budget,
        starts: NDArray[np.int64] | None = None,
    ) -> None:  # fmt: skip
        self._key = key
        self._compute = compute
        self._order = order
        self._budget = budget
        self._place = np.full(int(order.max(initial=-1)) + 1, -1, dtype=np.int32)
        self._place[order] = np.arange(len(order), dtype=np.int32)
        self._edges = _block_edges(len(order), starts)
        self._filled = np.zeros(len(self._edges) - 1, dtype=bool)
        self._memory: Tensor | None = None
        self._disk: np.memmap[tuple[int, ...], np.dtype[np.float32]] | None = None

    @property
    def misses(self) -> int:
        """Blocks computed so far; each at most once."""
        return int(self._filled.sum())

    @property
    def spilled(self) -> int:
        """Rows whose place is on disk."""
        return 0 if self._disk is None else len(self._disk)

    def fetch(self, positions: NDArray[np.int64]) -> Tensor:
        """Rows ``[n, ...]`` in the order asked for; ``n`` is at least one.

        Raises:
            SynopticError: a position that is not in the table.
        """
        places = self._places(positions)
        blocks = np.searchsorted(self._edges, places, side="right") - 1
        if not self._filled[blocks].all():
            for block in np.unique(blocks[~self._filled[blocks]]):
                self._fill(int(block))
        assert self._memory is not None, "fetch of no positions"
        limit = len(self._memory)
        if self._disk is None or (places < limit).all():
            return self._memory[torch.from_numpy(places)]
        rows = self._memory.new_empty(len(places), *self._memory.shape[1:])
        near = places < limit
        rows[torch.from_numpy(near)] = self._memory[torch.from_numpy(places[near])]
        rows[torch.from_numpy(~near)] = torch.from_numpy(self._disk[places[~near] - limit])
        return rows

    def _places(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        inside = (positions >= 0) & (positions < len(self._place))
        places = np.where(inside, self._place[np.where(inside, positions, 0)], -1)
        if (places < 0).any():
            raise SynopticError(f"example {int(positions[places < 0][0])} is outside the cache's table",
                                "ask only for examples of a client or of a test split")  # fmt: skip
        return places

    def _fill(self, block: int) -> None:
        start, stop = int(self._edges[block]), int(self._edges[block + 1])
        rows = self._compute(self._order[start:stop])
        if self._memory is None:
            self._allocate(rows[0])
        assert self._memory is not None
        limit = len(self._memory)
        if stop <= limit:
            self._memory[start:stop] = rows
        else:
            assert self._disk is not None
            self._check_room(rows.numel() * 4)
            self._disk[start - limit : stop - limit] = rows.cpu().numpy()
        self._filled[block] = True

    def _check_room(self, size: int) -> None:
        # The spill file is sparse: writing to it on a full disk would end the process without a word.
        if shutil.disk_usage(self._budget.folder).free < size + MARGIN:
            raise SynopticError("the prefix cache has filled the disk of its folder", CURE)

    def _allocate(self, row: Tensor) -> None:
        """Memory for as many whole blocks as the budget allows (touched only when filled), disk for the rest."""
        size = row.numel() * 4
        fitting = np.searchsorted(self._edges, self._budget.free // size, side="right") - 1
        limit = int(self._edges[fitting])
        self._budget.free -= limit * size
        self._memory = torch.empty(limit, *row.shape)
        if limit < len(self._order):
            shape = (len(self._order) - limit, *row.shape)
            try:
                # A file without a name: runs that share the folder never meet, and nothing is left even by a kill.
                with tempfile.TemporaryFile(dir=self._budget.folder, prefix=self._key) as file:
                    self._disk = np.memmap(file, np.float32, "w+", shape=shape)
            except OSError as error:
                raise SynopticError(f"the prefix cache cannot spill to its folder ({error})", CURE) from error


def _block_edges(count: int, starts: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Where blocks begin and the last one ends: every BLOCK places, and anew at each of ``starts``."""
    first = np.unique(np.append(starts if starts is not None else [], 0).astype(np.int64))
    first = first[first < count]
    length = np.diff(np.append(first, count))
    blocks = -(-length // BLOCK)
    inside = np.arange(blocks.sum()) - np.repeat(np.cumsum(blocks) - blocks, blocks)
    return np.append(np.repeat(first, blocks) + inside * BLOCK, count).astype(np.int64)
