"""What an answerer can do before any tuning: exact answers to the world's questions, seen and new in every way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from synoptic.core.seeds import numpy_generator
from synoptic.data.questions import (
    CUE,
    FORMS,
    KINDS,
    MANNERS,
    PHRASINGS,
    SEEN_PHRASINGS,
    UNSEEN_MANNERS,
    UNSEEN_PHRASINGS,
    dialogue,
)
from synoptic.data.styles import STYLES
from synoptic.data.world import (
    PRETRAIN_STYLES,
    TEXTURES,
    UNSEEN_STYLES,
    Images,
    Ints,
    Scene,
    compose,
    held_out_pairs,
    pretraining_pairs,
    render,
)
from synoptic.models.answerer import Answerer
from synoptic.models.pretraining.packing import exact

ROWS: Final = 600  # a multiple of the kinds
STRENGTH: Final = 0.75


@dataclass(frozen=True)
class Condition:
    """One row of the table: which pictures, phrasings and manners, drawn evenly."""

    name: str
    styles: Sequence[str] = PRETRAIN_STYLES
    phrasings: Sequence[str] = SEEN_PHRASINGS
    manners: Sequence[str] = ("plain",)
    held_out: bool = False
    cue: bool = False


CONDITIONS: Final = (
    Condition("as in pre-training"),
    Condition("a sentence, asked for", manners=("sentence",), cue=True),
    Condition("unseen (colour, shape) pairs", held_out=True),
    *(Condition(f"unseen style: {style}", styles=(style,)) for style in UNSEEN_STYLES),
    Condition("unseen phrasings: worded", phrasings=[name for name in UNSEEN_PHRASINGS if name not in FORMS]),
    Condition("unseen phrasings: forms", phrasings=FORMS),
    *(Condition(f"unseen manner: {manner}", manners=(manner,)) for manner in UNSEEN_MANNERS),
)


def examples(condition: Condition, n: int) -> tuple[Images, list[str], list[str]]:
    """Pictures, questions and answers of a condition; row i is of kind i modulo the number of kinds."""
    rng = numpy_generator(0, "card", condition.name)
    scene = _scene(condition, n, rng)
    codes = [_drawn(PHRASINGS, condition.phrasings, n, rng), _drawn(MANNERS, condition.manners, n, rng)]
    asked, said = dialogue(scene, np.arange(n) % len(KINDS), codes[0], codes[1], rng)
    return render(scene, rng), [f"{question} {CUE}" if condition.cue else question for question in asked], said


def _scene(condition: Condition, n: int, rng: np.random.Generator) -> Scene:
    pairs = np.array(sorted(held_out_pairs())) if condition.held_out else pretraining_pairs()
    colour, shape = pairs[rng.integers(0, len(pairs), n)].T
    style = _drawn(STYLES, condition.styles, n, rng)
    return compose(shape, colour, rng.integers(0, len(TEXTURES), n), style, rng, STRENGTH)


def _drawn(names: Sequence[str], some: Sequence[str], n: int, rng: np.random.Generator) -> Ints:
    codes = np.array([names.index(name) for name in some], dtype=np.int64)
    return np.asarray(codes[rng.integers(0, len(codes), n)])


def scores(model: Answerer) -> dict[str, NDArray[np.float64]]:
    """Share of exact greedy answers by kind, float64 [6], for every condition."""
    return {condition.name: _score(model, condition) for condition in CONDITIONS}


def _score(model: Answerer, condition: Condition) -> NDArray[np.float64]:
    right = exact(model.model, model.tokenizer, *examples(condition, ROWS))
    return np.asarray(right.reshape(-1, len(KINDS)).mean(0), dtype=np.float64)


def constant() -> NDArray[np.float64]:
    """What the most common answer of each kind would score as in pre-training, float64 [6]."""
    _, _, said = examples(CONDITIONS[0], ROWS)
    kinds = range(len(KINDS))
    common = [Counter(said[kind :: len(KINDS)]).most_common(1)[0][1] for kind in kinds]
    return np.array(common) * len(KINDS) / ROWS


def lines(model: Answerer) -> list[str]:
    """The card's table."""
    table = {**scores(model), "the most common answer": constant()}
    each = ROWS // len(KINDS)
    return [
        f"Share of exact greedy answers, {each} questions of each kind a row; styles at strength {STRENGTH}:",
        "",
        f"| pictures, questions, answers | {' | '.join(KINDS)} | all |",
        "|---|" + "---|" * (len(KINDS) + 1),
        *(
            f"| {name} | {' | '.join(f'{part:.3f}' for part in row)} | {row.mean():.3f} |"
            for name, row in table.items()
        ),
    ]
