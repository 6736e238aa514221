"""Descriptions of a picture of the world: any of its facts, plainly, in a sentence or hedged; and how they are read.

Whoever judges a text must read any text, also those that a policy makes up. A text is of a known form if it is a plain
description, one in a sentence or a caption (`synoptic.data.world.PHRASES`), whatever values stand in it; "perhaps" may
come before it and "i think" after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import Final, NamedTuple

from synoptic.data.manners import say
from synoptic.data.questions import FACTS, VALUES
from synoptic.data.world import PHRASES

WAYS: Final = ("plain", "sentence", "hedged")
"""Manners of describing."""
LONGEST: Final = 10
"""Words of the longest known form; the name of a place counts as one word, and what hedges does not count."""

_HEDGED: Final = (("", "perhaps "), ("", ", i think"))
_HEDGES: Final = frozenset({"perhaps", "i", "think"})
_MARKS: Final = frozenset({",", "."})
_SLOTS: Final = tuple(f"<{fact}>" for fact in FACTS)
_NAMED: Final = {word: (fact, value) for fact, name in enumerate(FACTS) for value, word in enumerate(VALUES[name])}
_KEPT: Final = 2**16  # texts whose reading is remembered: a policy says the same ones again and again


class Reading(NamedTuple):
    """What a text says and how.

    Attributes:
        named: what it states, pairs of an index into `synoptic.data.questions.FACTS` and one into that fact's values,
            each once.
        words: how many words it has, without marks and hedges; the name of a place is one word.
        hedged: 1 with "perhaps" and "i think", a half with one of them, else 0.
        malformed: 0 for a known form; else between a half and 1, by the share of words that belong to no form or come
            again.
    """

    named: frozenset[tuple[int, int]]
    words: int
    hedged: float
    malformed: float


def describe(way: str, colour: str | None, shape: str | None, texture: str | None, place: str | None) -> str:
    """A text that states the facts that are given, at least one, in one of `WAYS`.

    >>> describe("hedged", "red", "circle", None, "top left")
    'perhaps red circle at the top left, i think'
    """
    told = [word for word in (texture, colour, shape) if word is not None]
    kind = "describe" if shape is not None else "colour"
    if place is not None:
        kind, told = (kind, [*told, "at", "the", place]) if told else ("place", [place])
    return say(way, kind, tuple(" ".join(told).split()))


@lru_cache(maxsize=_KEPT)
def read(text: str) -> Reading:
    """What any text says, in a few microseconds, or at once if it was read before."""
    words = _words(text)
    facts = [_NAMED.get(word) for word in words]
    skeleton = tuple(word if fact is None else _SLOTS[fact[0]] for word, fact in zip(words, facts, strict=True))
    return Reading(
        frozenset(fact for fact in facts if fact is not None),
        sum(word not in _HEDGES and word not in _MARKS for word in words),
        ("perhaps" in words) / 2 + ("think" in words) / 2,
        0.0 if skeleton in _known() else _malformed(skeleton),
    )


def _words(text: str) -> list[str]:
    """Words and commas in lower case without a last full stop; the name of a place is one word."""
    words: list[str] = []
    for word in text.lower().strip().removesuffix(".").replace(",", " , ").split():
        both = f"{words[-1]} {word}" if words else word
        if words and both in _NAMED:
            words[-1] = both
        else:
            words.append(word)
    return words


def _malformed(skeleton: Sequence[str]) -> float:
    if not skeleton:
        return 1.0
    odd = sum(word not in _vocabulary() or word in skeleton[:place] for place, word in enumerate(skeleton))
    return 0.5 + 0.5 * odd / len(skeleton)


@lru_cache(maxsize=1)
def _known() -> frozenset[tuple[str, ...]]:
    """Every known form, with slots for what it states."""
    chosen = [[slot if kept else None for slot, kept in zip(_SLOTS, mask, strict=True)]
              for mask in product((True, False), repeat=len(FACTS)) if any(mask)]  # fmt: skip
    texts = [describe(way, *slots) for way in ("plain", "sentence") for slots in chosen]
    slots = dict(zip(FACTS, _SLOTS, strict=True))
    texts += [phrase.format(**slots).removesuffix(".") for phrase in PHRASES if "{style}" not in phrase]
    return frozenset(tuple(_words(f"{begin}{text}{end}")) for begin, end in product(*_HEDGED) for text in texts)


@lru_cache(maxsize=1)
def _vocabulary() -> frozenset[str]:
    return frozenset(word for form in _known() for word in form)
