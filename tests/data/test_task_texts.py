from __future__ import annotations

import numpy as np

from synoptic.core.seeds import numpy_generator
from synoptic.data.shapes import SHAPES
from synoptic.data.task_texts import WAYS, corrections
from synoptic.data.world import COLOUR_NAMES, compose


def named(text: str) -> list[str]:
    """The colours of a text, in their order."""
    return [word for word in text.replace(",", " ").split() if word in COLOUR_NAMES]


def test_every_text_names_the_meant_colour_and_another_one() -> None:
    rng = numpy_generator(0, "tests")
    shape, colour = rng.integers(0, len(SHAPES), 300), rng.integers(0, len(COLOUR_NAMES), 300)
    scene = compose(shape, colour, np.zeros(300, dtype=np.int64), np.zeros(300, dtype=np.int64), rng)
    texts = corrections(scene, rng)
    first = []
    for text, meant in zip(texts, (COLOUR_NAMES[c] for c in colour), strict=True):
        one, other = named(text)
        assert one != other
        assert meant in (one, other)
        first.append(one == meant)
    assert 0.4 < np.mean(first) < 0.6, "where it stands says nothing"
    assert len({text.split(named(text)[0])[0] for text in texts}) > 5, "there are several ways to say it"


def test_half_of_the_ways_name_the_meant_colour_first() -> None:
    places = [way.index("{colour}") < way.index("{other}") for way in WAYS]
    assert places == [True] * (len(WAYS) // 2) + [False] * (len(WAYS) // 2)
