"""Scoring functions for the tests of methods that ask clients for scores."""

from __future__ import annotations

from typing import Any

import numpy as np

TRUTH: dict[tuple[bytes, str], str] = {}
"""The right answer to a question about a picture, for `knows`; a test fills it in."""


def likes_red(picture: Any, question: str, texts: list[str]) -> list[float]:
    return [float(text.split().count("red") > 0) for text in texts]


def likes_short(picture: Any, question: str, texts: list[str]) -> list[float]:
    return [-float(len(text.split())) for text in texts]


def constant(picture: Any, question: str, texts: list[str]) -> list[float]:
    return [4.0] * len(texts)


def likes_short_steadily(picture: Any, question: str, texts: list[str]) -> list[float]:
    """Pairs are far apart, so that no score is clipped when it is normalised by them."""
    if len(texts) == 2:
        first = len(texts[0].split()) <= len(texts[1].split())
        return [1.0, -1.0] if first else [-1.0, 1.0]
    return [score / 10 for score in likes_short(picture, question, texts)]


def likes_short_loudly(picture: Any, question: str, texts: list[str]) -> list[float]:
    return [7 + 5 * score for score in likes_short_steadily(picture, question, texts)]


def knows(picture: Any, question: str, texts: list[str]) -> list[float]:
    """Of two answers which is the truth; of more, how many words each has in common with it."""
    true = TRUTH[np.asarray(picture).tobytes(), question]
    if len(texts) == 2:
        return [1.0 if text == true else -1.0 for text in texts]
    words = set(true.split())
    return [len(words & set(text.split())) / len(words | set(text.split())) for text in texts]


def length(texts: list[str]) -> list[float]:
    return [float(len(text)) for text in texts]


def gives_nan_later(picture: Any, question: str, texts: list[str]) -> list[float]:
    """Right about pairs, so that it calibrates."""
    return length(texts) if len(texts) == 2 else [float("nan")] * len(texts)


def too_few_later(picture: Any, question: str, texts: list[str]) -> list[float]:
    return length(texts) if len(texts) == 2 else [1.0]


def breaks_later(picture: Any, question: str, texts: list[str]) -> list[float]:
    if len(texts) == 2:
        return length(texts)
    raise ValueError("no idea")


def always_nan(picture: Any, question: str, texts: list[str]) -> list[float]:
    return [float("nan")] * len(texts)


def always_one(picture: Any, question: str, texts: list[str]) -> list[float]:
    return [1.0]


def always_breaks(picture: Any, question: str, texts: list[str]) -> list[float]:
    raise ValueError("no idea")
