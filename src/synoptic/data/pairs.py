"""Answers about the world's pictures to choose between, and which of two a taste prefers.

Bradley & Terry 1952: the first of two answers is preferred with probability ``sigmoid((u1 - u2) / temperature)``.

Legend: n pictures.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from synoptic.data import questions
from synoptic.data.describing import WAYS, describe
from synoptic.data.phrasings import PHRASINGS, ask
from synoptic.data.question_spec import TastesSpec
from synoptic.data.questions import FACTS, VALUES, other_values, vocabulary
from synoptic.data.styles import STYLES
from synoptic.data.tastes import Taste, features, judged
from synoptic.data.world import TEXTURES, Images, compose, pretraining_pairs, render

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

FALSE: Final = 0.5
"""Share of the answers to choose between that state one wrong fact."""
_TIED: Final = 1e-9


def answers(facts: Ints, rng: np.random.Generator, false: float = 0.0) -> list[str]:
    """An answer about each picture: one to four of its facts in any of `synoptic.data.describing.WAYS`.

    Each number of facts, each choice of so many and each way is as likely as any other.

    Args:
        facts: what the pictures show ``[n, 4]``.
        rng: draws.
        false: share of the answers in which one of the facts is wrong.
    """
    n = len(facts)
    count, way = rng.integers(1, len(FACTS) + 1, n), rng.integers(0, len(WAYS), n)
    order = rng.permuted(np.tile(np.arange(len(FACTS)), (n, 1)), axis=1)
    wrong, other = rng.random(n) < false, other_values(facts, rng)
    texts = []
    for row in range(n):
        named: list[str | None] = [None] * len(FACTS)
        for place, fact in enumerate(order[row, : count[row]]):
            values = other if wrong[row] and place == 0 else facts
            named[fact] = VALUES[FACTS[fact]][values[row, fact]]
        texts.append(describe(WAYS[way[row]], *named))
    return texts


def descriptions(rng: np.random.Generator, n: int, each: int = 1) -> tuple[Images, list[str], list[str]]:
    """Draw n pictures, uint8 ``[n, 32, 32, 3]``, with ``each`` requests to describe every one, and what `answers` says.

    All styles and all ways of asking, and those pairs of colour and shape that pre-training may see. Requests about the
    same picture follow one another.
    """
    pairs = pretraining_pairs()[rng.integers(0, len(pretraining_pairs()), n)]
    texture, style = rng.integers(0, len(TEXTURES), n), rng.integers(0, len(STYLES), n)
    scene = compose(pairs[:, 1], pairs[:, 0], texture, style, rng, rng.uniform(0.2, 1.0, n))
    images, facts_n = render(scene, rng), questions.facts(scene)
    way = rng.integers(0, len(PHRASINGS), n * each)
    return images, [ask(PHRASINGS[one], "describe", "") for one in way], answers(np.repeat(facts_n, each, axis=0), rng)


def stammered(text: str, rng: np.random.Generator) -> str:
    """The same words in another order, one of them again, an odd one instead, or all of them twice."""
    words = text.split()
    how, place = rng.integers(4), rng.integers(len(words))
    if how == 0:
        words = [words[other] for other in rng.permutation(len(words))]
    elif how == 1:
        words.insert(int(place), words[rng.integers(len(words))])
    elif how == 2:
        known = vocabulary()
        words[place] = known[rng.integers(len(known))]
    else:
        words += words
    return " ".join(words)


def candidates(facts: Ints, broken: float, rng: np.random.Generator) -> list[str]:
    """Answers to choose between: half of them with a wrong fact, a share broken, as of a model that stammers."""
    texts, odd = answers(facts, rng, FALSE), rng.random(len(facts)) < broken
    return [stammered(text, rng) if breaks else text for text, breaks in zip(texts, odd, strict=True)]


def rivals(
    facts: Ints, taste: Taste, rng: np.random.Generator, broken: float = 0.0
) -> tuple[list[str], list[str], Floats]:  # fmt: skip
    """Two answers about each picture that a taste does not like the same, and by how much the first is worth more.

    Args:
        facts: what the pictures show ``[n, 4]``.
        taste: who judges.
        rng: draws; pairs that the taste can order do not depend on it.
        broken: see `candidates`.
    """
    one, two = candidates(facts, broken, rng), candidates(facts, broken, rng)
    worth = _worth(facts, taste, one)
    more = worth - _worth(facts, taste, two)
    while len(tied := np.flatnonzero(np.abs(more) < _TIED)):
        again = candidates(facts[tied], broken, rng)
        more[tied] = worth[tied] - _worth(facts[tied], taste, again)
        for row, text in zip(tied, again, strict=True):
            two[row] = text
    return one, two, more


def preferred(more: Floats, temperature: float, noise: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Whether the first of two answers is preferred, bool ``[n]``.

    Args:
        more: by how much it is worth more ``[n]``.
        temperature: of the choice; 0 takes what is worth more.
        noise: share of the choices that are turned round.
        rng: draws.
    """
    draw, turned = rng.random(len(more)), rng.random(len(more)) < noise
    first = more > 0 if temperature == 0 else draw < 0.5 + 0.5 * np.tanh(more / (2 * temperature))
    return np.asarray(first ^ turned, dtype=bool)


def preferences(
    facts: Ints,
    taste: Taste,
    spec: TastesSpec | None,
    drawn: np.random.Generator,
    chosen: np.random.Generator,
    broken: float = 0.0,
) -> tuple[list[str], list[str]]:
    """A preferred and a rejected answer about each picture.

    Args:
        facts: what the pictures show ``[n, 4]``.
        taste: who prefers.
        spec: temperature and noise of the choice; None prefers what is worth more.
        drawn: draws the answers.
        chosen: draws the choices.
        broken: share of answers that are broken, see `candidates`.
    """
    one, two, more = rivals(facts, taste, drawn, broken)
    first = preferred(more, spec.temperature, spec.noise, chosen) if spec is not None else more > 0
    pairs = [(a, b) if wins else (b, a) for a, b, wins in zip(one, two, first, strict=True)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _worth(facts: Ints, taste: Taste, texts: list[str]) -> Floats:
    found = [features(row, text) for row, text in zip(facts.tolist(), texts, strict=True)]
    return np.asarray(judged([taste], np.array(found, dtype=np.float64))[0], dtype=np.float64)
