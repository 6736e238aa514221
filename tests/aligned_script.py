"""Scoring functions for the tests of methods that ask clients for scores."""

from __future__ import annotations

from typing import Any


def likes_red(picture: Any, question: str, texts: list[str]) -> list[float]:
    return [float(text.split().count("red") > 0) for text in texts]


def likes_short(picture: Any, question: str, texts: list[str]) -> list[float]:
    return [-float(len(text.split())) for text in texts]


def constant(picture: Any, question: str, texts: list[str]) -> list[float]:
    return [4.0] * len(texts)


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
