"""Named random streams: every draw is a pure function of (seed, names), never of what was drawn before.

Order, grouping and interruption therefore never matter (rule 4): client 7's batches in round 3 are the same whether
it trains alone, in a stack of twenty, or after a restart.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream called ``names`` under ``seed``.

    >>> stream_seed(0, "batches", 3, 7) == stream_seed(0, "batches", 3, 7)
    True
    >>> stream_seed(0, "batches", 3, 7) == stream_seed(0, "batches", 37)
    False
    """
    text = "\x1f".join([str(seed), *(f"{type(name).__name__}:{name}" for name in names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """A torch generator for the stream called ``names`` under ``seed`` (on the CPU, the same on every device)."""
    return torch.Generator().manual_seed(stream_seed(seed, *names))


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """A numpy generator for the stream called ``names`` under ``seed``."""
    return np.random.default_rng(stream_seed(seed, *names))
