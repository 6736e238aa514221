"""A classification task of the world: which "colour shape" pairs are its classes, and what every picture shows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from synoptic.core.errors import SynopticError, nearest
from synoptic.core.seeds import numpy_generator
from synoptic.data.shapes import SHAPES
from synoptic.data.styles import STYLES
from synoptic.data.world import COLOUR_NAMES, TEXTURES, Scene, compose

Ints = NDArray[np.int64]
Pair = tuple[int, int]  # (colour, shape)


@dataclass(frozen=True, eq=False)
class WorldTask:
    """Classes and scenes of one draw.

    Attributes:
        draw: the number the classes were drawn from.
        pairs: (colour, shape) of every class; the base classes come first.
        novel: how many classes at the end are novel. No novel shape is a base shape, unless classes were named.
        train, test: records of the pictures; training scenes are of base classes only.
        train_labels, test_labels: int64, indices into ``class_names``.

    """

    draw: int
    pairs: tuple[Pair, ...]
    novel: int
    train: Scene
    test: Scene
    train_labels: Ints
    test_labels: Ints

    @property
    def class_names(self) -> tuple[str, ...]:
        """Words such as "red circle"."""
        return tuple(f"{COLOUR_NAMES[colour]} {SHAPES[shape]}" for colour, shape in self.pairs)

    def grain(self, part: str) -> np.random.Generator:
        """The generator that `synoptic.data.world.render` takes for "train" or "test"."""
        return numpy_generator(self.draw, "world", "grain", part)


@lru_cache(maxsize=8)
def world_task(
    draw: int,
    classes: int | tuple[str, ...],
    novel: float | tuple[str, ...],
    per_class: int,
    test_per_class: int,
    styles: tuple[str, ...],
    strength: float,
) -> WorldTask:
    """Draw the task's classes and compose its pictures; the same arguments give the same task.

    Args:
        draw: names the random streams.
        classes: how many classes, or their names.
        novel: the share of novel classes, or their names.
        per_class: training pictures per base class.
        test_per_class: test pictures per class.
        styles: the styles of the pictures, in turn, so each class is balanced over them.
        strength: of the style, in [0, 1].

    """
    pairs, held = _classes(draw, classes, novel)
    kinds = _styles(styles)
    trained = np.arange(len(pairs) - held)
    train, train_labels = _scenes(draw, "train", pairs, trained, per_class, kinds, strength)
    test, test_labels = _scenes(draw, "test", pairs, np.arange(len(pairs)), test_per_class, kinds, strength)
    return WorldTask(draw, pairs, held, train, test, train_labels, test_labels)


def _styles(styles: tuple[str, ...]) -> Ints:
    for style in styles:
        if style not in STYLES:
            raise SynopticError(f"data.styles names {style!r}, which is no style of the world", nearest(style, STYLES))
    if len(set(styles)) != len(styles):
        raise SynopticError(f"data.styles={','.join(styles)} names a style twice", "name each once")
    return np.array([STYLES.index(style) for style in styles], dtype=np.int64)


def _classes(draw: int, classes: int | tuple[str, ...], novel: float | tuple[str, ...]) -> tuple[tuple[Pair, ...], int]:
    """The classes, base ones first, and the number of novel ones."""
    if not isinstance(classes, int):
        pairs = [_parse(name) for name in classes]
        if len(set(pairs)) != len(pairs):
            raise SynopticError("data.classes names a class twice", "name each once")
        if isinstance(novel, float):
            return tuple(pairs), round(novel * len(pairs))
        held = [_parse(name) for name in novel]
        return tuple([pair for pair in pairs if pair not in held] + held), len(held)
    if not isinstance(novel, float):
        held = [_parse(name) for name in novel]
        free = [shape for shape in range(len(SHAPES)) if shape not in {shape for _, shape in held}]
        return (*_drawn(draw, "base", classes - len(held), free), *held), len(held)
    count = round(novel * classes)
    order = [int(shape) for shape in numpy_generator(draw, "world", "shapes").permutation(len(SHAPES))]
    # Shapes are divided as the classes are, and either side that has a class has a shape.
    cut = min(max(round(len(SHAPES) * count / classes), count > 0), len(SHAPES) - (count < classes))
    return (*_drawn(draw, "base", classes - count, order[cut:]), *_drawn(draw, "novel", count, order[:cut])), count


def _drawn(draw: int, side: str, count: int, shapes: list[int]) -> list[Pair]:
    if not 0 <= count <= len(shapes) * len(COLOUR_NAMES):
        raise SynopticError(
            f"the world has {len(shapes) * len(COLOUR_NAMES)} {side} classes to draw from, not {count}",
            "lower data.classes or change data.novel",
        )
    chosen = numpy_generator(draw, "world", side).choice(len(shapes) * len(COLOUR_NAMES), count, replace=False)
    return [(int(index) % len(COLOUR_NAMES), shapes[int(index) // len(COLOUR_NAMES)]) for index in chosen]


def _parse(name: str) -> Pair:
    words = name.split()
    if len(words) != 2 or words[0] not in COLOUR_NAMES or words[1] not in SHAPES:
        raise SynopticError(
            f"{name!r} is no class of the world",
            f"write a colour ({', '.join(COLOUR_NAMES)}) and a shape ({', '.join(SHAPES)})",
        )
    return COLOUR_NAMES.index(words[0]), SHAPES.index(words[1])


def _scenes(
    draw: int, part: str, pairs: tuple[Pair, ...], used: Ints, count: int, styles: Ints, strength: float
) -> tuple[Scene, Ints]:
    labels = np.repeat(used, count)
    which = np.array(pairs, dtype=np.int64).reshape(-1, 2)[labels]
    rng = numpy_generator(draw, "world", part)
    texture = rng.integers(0, len(TEXTURES), len(labels))
    style = np.resize(styles, len(labels))
    return compose(which[:, 1], which[:, 0], texture, style, rng, strength), labels.astype(np.int64)
