"""Texts of two colours, one of which is meant and the other denied.

Which words are there tells the right colour in half of all cases only, and so does their order: half of the ways name
the meant colour first. Who understands nothing but colours is right half of the time.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from synoptic.data.shapes import SHAPES
from synoptic.data.world import COLOUR_NAMES, TEXTURES, Scene, places

WAYS: Final = (
    "a {colour} {shape}, not {other}",
    "this is a {shape}, {colour}, not {other}",
    "a {texture} {shape} at the {place}, {colour}, not {other}",
    "not {other}, a {colour} {shape}",
    "this is a {shape}, not {other}, {colour}",
    "a {texture} {shape} at the {place}, not {other}, {colour}",
)
"""Ways to say it: those that name the meant colour first, then as many that name it last."""


def corrections(scene: Scene, rng: np.random.Generator) -> list[str]:
    """A text for each of n scenes that means the scene's colour and names another one too."""
    n = len(scene)
    way = rng.integers(0, len(WAYS), n)
    other = (scene.colour + rng.integers(1, len(COLOUR_NAMES), n)) % len(COLOUR_NAMES)
    return [
        WAYS[way[row]].format(
            colour=COLOUR_NAMES[scene.colour[row]],
            other=COLOUR_NAMES[other[row]],
            shape=SHAPES[scene.shape[row]],
            texture=TEXTURES[scene.texture[row]],
            place=place,
        )
        for row, place in enumerate(places(scene))
    ]
