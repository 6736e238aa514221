"""The embedded world: 32x32 pictures of one coloured, textured shape in a style, with words that are true of them.

16 shapes x 10 colours x 4 textures x 8 styles, drawn from a seed. Two styles and a fifth of the (colour, shape)
pairs never occur in pre-training, so a tuned model has something to gain and something to lose.
A `Scene` keeps what every picture shows; captions (and later questions and preferences) are read off it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from synoptic.core.seeds import numpy_generator
from synoptic.data.shapes import SHAPES, distance_fields, lookup
from synoptic.data.styles import STYLES, Canvas, apply

Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]
Images = NDArray[np.uint8]

SIZE: Final = 32
TEXTURES: Final = ("plain", "striped", "dotted", "checkered")
COLOURS: Final = {
    "red": (214, 40, 40),
    "orange": (242, 135, 22),
    "yellow": (240, 215, 50),
    "green": (45, 150, 60),
    "cyan": (50, 200, 210),
    "blue": (45, 75, 215),
    "purple": (125, 50, 165),
    "pink": (245, 130, 190),
    "brown": (120, 72, 40),
    "gray": (128, 128, 128),
}
COLOUR_NAMES: Final = tuple(COLOURS)
UNSEEN_STYLES: Final = ("pastel", "blurred")
PRETRAIN_STYLES: Final = tuple(name for name in STYLES if name not in UNSEEN_STYLES)
_BATCH: Final = 256  # pictures rendered at a time: the working arrays stay in the processor's cache


@dataclass(frozen=True, eq=False)
class Scene:
    """What n pictures show. Integers index SHAPES, COLOUR_NAMES, TEXTURES and STYLES.

    ``x``, ``y`` (centre) and ``radius`` are in pixels, ``angle`` in radians, ``strength`` of the style in [0, 1];
    ``ink`` and ``ground`` are the exact colours, float32 [n, 3] in 0..1.
    """

    shape: Ints
    colour: Ints
    texture: Ints
    style: Ints
    strength: Floats
    x: Floats
    y: Floats
    radius: Floats
    angle: Floats
    ink: Floats
    ground: Floats

    def __len__(self) -> int:
        return len(self.shape)

    def take(self, rows: Ints | slice) -> Scene:
        """The record of some of the pictures."""
        return Scene(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})


def compose(
    shape: Ints, colour: Ints, texture: Ints, style: Ints, rng: np.random.Generator, strength: float | Floats = 0.75
) -> Scene:
    """Place n objects: jittered position, size, angle, colour and background (light or dark, hardly tinted)."""
    n = len(shape)
    radius = rng.uniform(6.0, 10.5, n)
    room = SIZE / 2 - radius - 0.5
    centre = SIZE / 2 + rng.uniform(-1, 1, (2, n)) * room
    palette = np.array(list(COLOURS.values()), dtype=np.float32) / 255
    ink = palette[colour] + rng.uniform(-0.05, 0.05, (n, 3))
    light = np.where(rng.random(n) < 0.5, rng.uniform(0.05, 0.22, n), rng.uniform(0.8, 0.97, n))
    ground = light[:, None] + rng.uniform(-0.04, 0.04, (n, 3))
    return Scene(
        np.asarray(shape, dtype=np.int64),
        np.asarray(colour, dtype=np.int64),
        np.asarray(texture, dtype=np.int64),
        np.asarray(style, dtype=np.int64),
        np.broadcast_to(np.asarray(strength, dtype=np.float32), (n,)),
        *(np.asarray(a, dtype=np.float32) for a in (*centre, radius, rng.uniform(-0.3, 0.3, n), ink, ground)),
    )


def render(scene: Scene, rng: np.random.Generator) -> Images:
    """Pictures of a scene, uint8 [n, 32, 32, 3]. ``rng`` only feeds the grain of the noisy style."""
    pictures = np.empty((len(scene), SIZE, SIZE, 3), dtype=np.uint8)
    for start in range(0, len(scene), _BATCH):
        part = slice(start, start + _BATCH)
        pictures[part] = _paint(scene.take(part), rng)
    return pictures


def _paint(scene: Scene, rng: np.random.Generator) -> Images:
    pixel = np.arange(SIZE, dtype=np.float32) + 0.5
    across = pixel[None, None, :] - scene.x[:, None, None]
    down = pixel[None, :, None] - scene.y[:, None, None]
    cos, sin = np.cos(scene.angle)[:, None, None], np.sin(scene.angle)[:, None, None]
    u, v = across * cos + down * sin, down * cos - across * sin
    radius = scene.radius[:, None, None]
    edge = lookup(distance_fields(), scene.shape, u / radius, v / radius) * radius
    cover = np.clip(0.5 - edge, 0, 1)[..., None]
    ink, ground = scene.ink[:, None, None], scene.ground[:, None, None]
    fill = ink + (_second_tone(ink) - ink) * _pattern(scene.texture, u, v)[..., None]
    picture = ground + (fill - ground) * cover
    canvas = Canvas(picture, edge, ink, ground, scene.strength[:, None, None, None])
    repainted = apply(canvas, scene.style, rng)
    return np.asarray(np.clip(repainted * 255 + 0.5, 0, 255), dtype=np.uint8)


def _second_tone(ink: Floats) -> Floats:
    """The colour of stripes and dots: a paler tone of the same hue."""
    return np.asarray(ink + (1 - ink) * 0.7, dtype=np.float32)


def _pattern(texture: Ints, u: Floats, v: Floats) -> Floats:
    """How much of the second tone lies on each pixel, in [0, 1]; the period is about five pixels."""
    along, over = u * (2 * np.pi / 5), v * (2 * np.pi / 5)
    amount = np.zeros_like(u)
    waves: dict[str, Callable[[Floats, Floats], Floats]] = {
        "striped": lambda a, b: np.sin(a + b * 0.3) * 2.5,
        "dotted": lambda a, b: (np.cos(a) + np.cos(b) - 0.7) * 2,
        "checkered": lambda a, b: np.sin(a * 0.75) * np.sin(b * 0.75) * 4,
    }
    for name, wave in waves.items():
        rows = np.flatnonzero(texture == TEXTURES.index(name))
        amount[rows] = np.clip(wave(along[rows], over[rows]) + 0.5, 0, 1)
    return amount


_PLACES: Final = (
    ("top left", "top", "top right"),
    ("left", "middle", "right"),
    ("bottom left", "bottom", "bottom right"),
)
PLACE_NAMES: Final = tuple(place for row in _PLACES for place in row)


def places(scene: Scene) -> list[str]:
    """Where each object is: a cell of a 3x3 grid over the centres ("top left", ..., "middle")."""
    column = np.digitize(scene.x, (SIZE / 2 - 2, SIZE / 2 + 2))
    row = np.digitize(scene.y, (SIZE / 2 - 2, SIZE / 2 + 2))
    return [_PLACES[r][c] for r, c in zip(row, column, strict=True)]


PHRASES: Final = (
    "{colour} {shape}",
    "a {colour} {shape}",
    "a photo of a {colour} {shape}.",
    "a picture of a {colour} {shape}",
    "a photo of a {texture} {colour} {shape}",
    "a {texture} {colour} {shape}",
    "a {colour} {shape} at the {place}",
    "a {texture} {colour} {shape} at the {place} of the picture",
    "a {style} picture of a {colour} {shape}",
    "a {style} photo of a {texture} {colour} {shape}.",
    "this is a {shape}, it is {colour}",
)
"""Captions, with places for what they state."""


def caption(scene: Scene, rng: np.random.Generator) -> list[str]:
    """One true sentence per picture, in one of several phrasings.

    The article is always "a", as in the prompts that zero-shot classification builds from class names.
    """
    choices = rng.integers(0, len(PHRASES), len(scene))
    return [
        PHRASES[choice].format(
            shape=SHAPES[shape],
            colour=COLOUR_NAMES[colour],
            texture=TEXTURES[texture],
            style=STYLES[style],
            place=place,
        )
        for choice, shape, colour, texture, style, place in zip(
            choices, scene.shape, scene.colour, scene.texture, scene.style, places(scene), strict=True
        )
    ]


@lru_cache(maxsize=1)
def held_out_pairs() -> frozenset[tuple[int, int]]:
    """The (colour, shape) pairs that never occur in pre-training: two colours of every shape, 32 of 160.

    Every colour and every shape on its own does occur, so an unseen pair can be understood from its words.
    """
    rng = numpy_generator(0, "world", "held-out pairs")
    order = rng.permutation(len(COLOURS))
    # Walking around one cycle of the colours gives each colour three or four shapes.
    return frozenset((int(order[(2 * shape + i) % len(order)]), shape) for shape in range(len(SHAPES)) for i in (0, 1))


@lru_cache(maxsize=1)
def pretraining_pairs() -> Ints:
    """Every other (colour, shape) pair, int64 [128, 2]."""
    unseen = held_out_pairs()
    pairs = [(c, s) for c in range(len(COLOURS)) for s in range(len(SHAPES)) if (c, s) not in unseen]
    return np.array(pairs, dtype=np.int64)


def pretraining_scene(rng: np.random.Generator, n: int) -> Scene:
    """Compose n random objects of the pre-training part: seen pairs, seen styles, strengths from 0.2 to 1."""
    pairs = pretraining_pairs()[rng.integers(0, len(pretraining_pairs()), n)]
    styles = np.array([STYLES.index(name) for name in PRETRAIN_STYLES])
    style = styles[rng.integers(0, len(styles), n)]
    strength = rng.uniform(0.2, 1.0, n).astype(np.float32)
    texture = rng.integers(0, len(TEXTURES), n)
    return compose(pairs[:, 1], pairs[:, 0], texture, style, rng, strength)


def pretraining_batch(rng: np.random.Generator, n: int) -> tuple[Images, list[str]]:
    """Draw n pre-training pictures, uint8 [n, 32, 32, 3], and a caption for each."""
    scene = pretraining_scene(rng, n)
    return render(scene, rng), caption(scene, rng)


def vocabulary() -> list[str]:
    """Every word and mark that a caption or a class prompt of the world can contain, sorted."""
    texts = [*SHAPES, *COLOURS, *TEXTURES, *STYLES, *PLACE_NAMES, "drawing image"]
    phrases = [phrase.format(shape="", colour="", texture="", style="", place="") for phrase in PHRASES]
    words = " ".join([*texts, *phrases]).replace(",", " , ").replace(".", " . ").split()
    return sorted(set(words))
