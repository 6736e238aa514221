"""Questions about the world, with answers that are true of the picture: what is asked, how, and how it is answered.

A row has three codes: a kind (index into `KINDS`: what is asked), a phrasing (into `PHRASINGS`: how) and a manner (into
`MANNERS`: how it is answered). Sites that differ in phrasings differ on the input side: the same fact is asked for in
other words, or by the same words with another meaning. Sites that differ in manners differ on the output side: the same
picture and question have different right answers.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from synoptic.data import world
from synoptic.data.manners import MANNERS, NO, SEEN_MANNERS, UNSEEN_MANNERS, YES, Words, manner_texts, say
from synoptic.data.phrasings import (
    FORMS,
    KINDS,
    PHRASINGS,
    SEEN_PHRASINGS,
    UNSEEN_PHRASINGS,
    ask,
    phrasing_texts,
)
from synoptic.data.shapes import SHAPES
from synoptic.data.world import COLOUR_NAMES, PLACE_NAMES, TEXTURES, Images, Ints, Scene

__all__ = [
    "FORMS", "KINDS", "MANNERS", "PHRASINGS", "SEEN_MANNERS", "SEEN_PHRASINGS", "UNSEEN_MANNERS", "UNSEEN_PHRASINGS",
    "dialogue", "other_values", "pretraining_dialogue", "vocabulary", "wrong",
]  # fmt: skip

Flags = NDArray[np.bool_]

VALUES: Final = {"colour": COLOUR_NAMES, "shape": SHAPES, "texture": TEXTURES, "place": PLACE_NAMES}
"""What each fact about a picture can be; a check asks about one of these values."""
FACTS: Final = tuple(VALUES)
_DESCRIBED: Final = ("texture", "colour", "shape")
_CHECK: Final = KINDS.index("check")

CAPTION: Final = "write a caption."
CUE: Final = "in a sentence."
"""Pre-training asks for a caption, or for a sentence instead of a plain answer, in these words."""
_CAPTIONS, _SENTENCES = 0.1, 0.25
_CHECKS: Final = 0.5  # on top of their share: with fewer, comparing is not learnt at all


def facts(scene: Scene) -> Ints:
    """What is true of each picture, int64 [n, 4]: indices into the `VALUES` of each of `FACTS`."""
    places = np.array([PLACE_NAMES.index(place) for place in world.places(scene)], dtype=np.int64)
    return np.stack([scene.colour, scene.shape, scene.texture, places], axis=1)


def dialogue(
    scene: Scene, kinds: Ints, phrasings: Ints, manners: Ints, rng: np.random.Generator
) -> tuple[list[str], list[str]]:
    """A question and its true answer for each of n pictures.

    Args:
        scene: what the pictures show.
        kinds: int [n], indices into `KINDS`.
        phrasings: int [n], indices into `PHRASINGS`.
        manners: int [n], indices into `MANNERS`.
        rng: draws what the checks ask about; half of them are so. The draw does not depend on the codes.

    """
    true = facts(scene)
    fact, value = _checked(true, rng)
    questions, answers = [], []
    for row, (kind, phrasing, manner) in enumerate(zip(kinds, phrasings, manners, strict=True)):
        asked = VALUES[FACTS[fact[row]]][value[row]]
        said = (YES if value[row] == true[row, fact[row]] else NO,) if kind == _CHECK else _told(KINDS[kind], true[row])
        questions.append(ask(PHRASINGS[phrasing], KINDS[kind], asked))
        answers.append(say(MANNERS[manner], KINDS[kind], said))
    return questions, answers


def wrong(
    scene: Scene, kinds: Ints, phrasings: Ints, manners: Ints, questions: list[str], rng: np.random.Generator
) -> list[str]:
    """A plausible but false answer to each question, in the manner of the true one.

    A description is wrong in one of its words, a check says the opposite, any other answer names another value.

    Args:
        scene: what the pictures show.
        kinds: as `dialogue` took them.
        phrasings: as `dialogue` took them.
        manners: as `dialogue` took them.
        questions: as `dialogue` gave them; they say what a check asks about.
        rng: draws the false values.

    """
    true = facts(scene)
    false = other_values(true, rng)
    slip = rng.integers(0, len(_DESCRIBED), len(scene))
    answers = []
    for row, (kind, manner) in enumerate(zip(kinds, manners, strict=True)):
        name = KINDS[kind]
        if name == "check":
            said: Words = (NO if _holds(questions[row], true[row]) else YES,)
        elif name == "describe":
            told = true[row].copy()
            place = FACTS.index(_DESCRIBED[slip[row]])
            told[place] = false[row, place]
            said = _told(name, told)
        else:
            said = _told(name, false[row])
        answers.append(say(MANNERS[manner], name, said))
    return answers


def pretraining_dialogue(rng: np.random.Generator, n: int, each: int = 1) -> tuple[Images, list[str], list[str]]:
    """Draw n pre-training pictures, uint8 [n, 32, 32, 3], with ``each`` questions and answers for every one.

    Questions about the same picture follow one another.

    Seen styles, (colour, shape) pairs and phrasings. Most answers are plain; some questions end in the request for a
    sentence, and some rows are captions, so that the facts come at other places than the beginning of an answer too.
    """
    scene = world.pretraining_scene(rng, n)
    images = world.render(scene, rng)
    scene, n = scene.take(np.repeat(np.arange(n), each)), n * each
    captions = world.caption(scene, rng)
    kinds = np.where(rng.random(n) < _CHECKS, _CHECK, rng.integers(0, len(KINDS), n))
    phrasings = rng.integers(0, len(SEEN_PHRASINGS), n)
    lot = rng.random(n)
    sentence = (lot >= _CAPTIONS) & (lot < _CAPTIONS + _SENTENCES)
    questions, answers = dialogue(scene, kinds, phrasings, sentence.astype(np.int64), rng)
    for row in range(n):
        if lot[row] < _CAPTIONS:
            questions[row], answers[row] = CAPTION, captions[row]
        elif sentence[row]:
            questions[row] = f"{questions[row]} {CUE}"
    return images, questions, answers


@lru_cache(maxsize=1)
def _vocabulary() -> tuple[str, ...]:
    texts = [*phrasing_texts(), *manner_texts(), CAPTION, CUE, *world.vocabulary()]
    return tuple(sorted(set(re.findall(r"\w+|[^\w\s]", " ".join(texts)))))


def vocabulary() -> list[str]:
    """Every word and mark of every question, answer and caption, sorted."""
    return list(_vocabulary())


def _checked(true: Ints, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Which of `FACTS` the checks ask about and which value they name, int64 [n] each."""
    n = len(true)
    fact = rng.integers(0, len(FACTS), n)
    holds: Flags = rng.random(n) < 0.5
    rows = np.arange(n)
    return fact, np.where(holds, true[rows, fact], other_values(true, rng)[rows, fact])


def other_values(true: Ints, rng: np.random.Generator) -> Ints:
    """For every fact ``[n, 4]`` a value that is not the true one, each as likely."""
    sizes = np.array([len(values) for values in VALUES.values()])
    return np.asarray((true + rng.integers(1, sizes, true.shape)) % sizes, dtype=np.int64)


def _told(kind: str, values: NDArray[Any]) -> Words:
    """The words of a fact, or of a description."""
    names = _DESCRIBED if kind == "describe" else (kind,)
    return tuple(" ".join(VALUES[name][values[FACTS.index(name)]] for name in names).split())


def _holds(question: str, values: NDArray[Any]) -> bool:
    """Whether the value that a check names is the picture's."""
    words = " ".join(re.findall(r"\w+", question))
    # "top" is a part of "top left": the longest name is the one that was asked about.
    named = [(len(value), fact, value) for fact, names in VALUES.items() for value in names
             if re.search(rf"\b{value}\b", words)]  # fmt: skip
    _, fact, value = max(named)
    return bool(VALUES[fact][values[FACTS.index(fact)]] == value)
