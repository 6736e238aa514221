"""What a description of a picture is worth to a site: the true utility of any text, known because the picture is.

All sites want what is right and well said. Beyond that a taste is a direction in a plane: long or short, hedged or
plain. One site asks for the full picture, another for a short answer, a third for a careful one, all about the same
picture; the angle between them says how much they disagree.

Legend: K tastes, n texts, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from synoptic.data.describing import LONGEST, read
from synoptic.data.questions import FACTS

Floats = NDArray[np.float64]

FAITHFUL: Final = 1.0
MALFORMED: Final = 2.0
"""Common weights. They are such that, whatever the taste, a wrong fact in place of the right one is a loss, and so is
everything that belongs to no form against the same facts well said: a taste weighs at most 1."""


class Features(NamedTuple):
    """What can be said about a text, given what the picture shows.

    Attributes:
        faithful: right facts less wrong ones, of all that are stated, in -1..1; 0 if none is.
        detailed: share of the picture's facts that are stated rightly.
        brief: 1 for one word, 0 for `synoptic.data.describing.LONGEST` words or more.
        hedged: see `synoptic.data.describing.Reading`.
        malformed: see `synoptic.data.describing.Reading`.
    """

    faithful: float
    detailed: float
    brief: float
    hedged: float
    malformed: float


@dataclass(frozen=True)
class Taste:
    """A direction in the plane of tastes.

    Attributes:
        angle: in degrees; 0 likes it long, 90 hedged, 180 short, 270 plain.
        weight: of the taste, in 0..1, beside `FAITHFUL` and `MALFORMED`.
    """

    angle: float
    weight: float = 1.0


def features(facts: Sequence[int], text: str) -> Features:
    """The features of a text about one picture.

    Args:
        facts: what the picture shows, as a row of `synoptic.data.questions.facts`.
        text: any text.
    """
    said = read(text)
    right = sum(facts[fact] == value for fact, value in said.named)
    stated = max(len(said.named), 1)
    brief = min(max((LONGEST - said.words) / (LONGEST - 1), 0.0), 1.0)
    faithful = (2 * right - len(said.named)) / stated
    return Features(faithful, right / len(FACTS), brief, said.hedged, said.malformed)


def judged(tastes: Sequence[Taste], found_nF: Floats) -> Floats:
    """Utilities ``[K, n]``: ``faithful - 2 malformed + weight (cos(angle) long + sin(angle) careful)``.

    ``long`` is ``detailed - brief`` and ``careful`` is ``2 hedged - 1``, both in -1..1.

    Args:
        tastes: the K judges.
        found_nF: `Features` of each text, float64 ``[n, 5]``.
    """
    faithful, detailed, brief, hedged, malformed = found_nF.T
    angle_K = np.radians([taste.angle for taste in tastes])
    weight_K = np.array([taste.weight for taste in tastes], dtype=np.float64)
    long, careful = detailed - brief, 2 * hedged - 1
    own = np.outer(weight_K * np.cos(angle_K), long) + np.outer(weight_K * np.sin(angle_K), careful)
    return np.asarray(FAITHFUL * faithful - MALFORMED * malformed + own, dtype=np.float64)


def tastes_apart(conflict: float, weight: float, groups: int) -> tuple[Taste, ...]:
    """A taste for each group, at angles spread evenly from 0 to ``conflict`` degrees; one group has the first."""
    return tuple(Taste(float(angle), weight) for angle in np.linspace(0, conflict, groups))
