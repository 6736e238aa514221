"""Six tasks of the world, shared by sites that have one or two of them each, beside tasks on data of one's own.

Every (site, task) pair of the world draws its rows from streams of its own, so another site or task changes nothing of
it. A row shows a picture of the world; a task that reads none never opens it. Sites of one group see a part of their
pictures in a style of their own (feature skew), and may hold some labels more often than others (label skew).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from synoptic.core.errors import SynopticError, nearest
from synoptic.core.seeds import numpy_generator
from synoptic.data import questions
from synoptic.data.images import ArrayImages
from synoptic.data.partition.dirichlet import shares
from synoptic.data.shapes import SHAPES
from synoptic.data.sources.source import TEMPLATE
from synoptic.data.styles import STYLES
from synoptic.data.task_own import own_givers
from synoptic.data.task_sites import Drawn, Giver, TaskSites, gather
from synoptic.data.task_spec import TaskWorldSpec
from synoptic.data.task_texts import corrections
from synoptic.data.tasks import Task, TaskData, tests_by_task
from synoptic.data.world import COLOUR_NAMES, PRETRAIN_STYLES, TEXTURES, Scene, caption, compose, render

Ints = NDArray[np.int64]

ASKED: Final = ("colour", "shape", "texture", "place")
TASKS: Final = {
    task.name: task
    for task in (
        Task("shapes", "classify", ("image",), SHAPES),
        Task("corrections", "classify", ("text",), COLOUR_NAMES),
        Task("colours", "classify", ("text",), COLOUR_NAMES),
        Task("pictures", "reconstruct", ("image",)),
        Task("questions", "generate", ("image", "text")),
        Task("captions", "generate", ("image",)),
    )
}
"""Shapes of pictures, the colour that a text means of two, the one that a caption names, pictures themselves, answers
to questions, descriptions."""

OWN_STYLES: Final = ("pastel", "blurred", *PRETRAIN_STYLES)
_POOL: Final = 8000  # captions; about two thirds are different texts
_SAID: Final = {"colours": caption, "corrections": corrections}
_ASKED_AS: Final = questions.PHRASINGS.index("short")
_PLAIN: Final = questions.MANNERS.index("plain")


@lru_cache(maxsize=4)
def task_world(spec: TaskWorldSpec, root: str | None = None) -> TaskSites:
    """Draw everything; remembered, because two runs on one draw need it drawn once.

    Args:
        spec: who has what.
        root: the folder that paths of one's own tasks start from; None: the current one.

    Raises:
        SynopticError: a task that does not exist or that a site has twice; one's own data that cannot be read or do
            not suffice.
    """
    known = [*TASKS, *(one.name for one in spec.own)]
    for archetype in spec.archetypes:
        _check(archetype, known)
    used = list(dict.fromkeys(name for archetype in spec.archetypes for name in archetype))
    own = own_givers(spec, used, TASKS, Path(root or ""))
    givers: dict[str, Giver] = {name: own[name] if name in own else WorldGiver(spec, name) for name in used}
    return gather(spec.sites, givers)


def build_tasks(spec: TaskWorldSpec, seed: int, root: str | None = None) -> TaskData:
    """The tasks without a recipe. The seed decides what is set aside for validation, nothing else.

    Raises:
        SynopticError: see `task_world`.
    """
    world = task_world(spec, root)
    none, classes = np.zeros(0, dtype=np.int64), np.arange(len(world.train.class_names))
    return TaskData(world.train, world.test, classes, none, TEMPLATE, tests_by_task(world.test),
                    world.clients(spec.validation, seed), tasks=world.tasks)  # fmt: skip


def _check(archetype: tuple[str, ...], known: list[str]) -> None:
    for name in archetype:
        if name not in known:
            raise SynopticError(f"data.tasks.archetypes names '{name}', which is no task", nearest(name, known))
    if not archetype or len(set(archetype)) != len(archetype):
        raise SynopticError(f"a site cannot have the tasks {list(archetype)}", "name at least one, each once")


@dataclass(frozen=True)
class WorldGiver:
    """Gives rows of a task of the world; see `synoptic.data.task_sites.Giver`."""

    spec: TaskWorldSpec
    name: str

    @property
    def task(self) -> Task:
        """Which."""
        return TASKS[self.name]

    @property
    def labels(self) -> tuple[str, ...]:
        """What a skew of labels is over: classes, kinds of questions, shapes of what is drawn."""
        return {"questions": ASKED}.get(self.name, COLOUR_NAMES if self.name in _SAID else SHAPES)

    def rows(self, part: str, site: int) -> Drawn:
        """What a site has, drawn anew from streams of its own."""
        spec, name, names = self.spec, self.name, self.labels
        count = spec.train if part == "train" else spec.test
        # A site's labels are skewed alike in both parts.
        chances = np.full(len(names), 1 / len(names))
        if spec.label_skew is not None:
            chances = shares(len(names), spec.label_skew, numpy_generator(spec.draw, "tasks", "skew", site, name))

        def stream(purpose: str) -> np.random.Generator:
            return numpy_generator(spec.draw, "tasks", part, site, name, purpose)

        drawn = stream("labels").choice(len(names), count, p=chances)
        if name in _SAID:
            return _captions(spec.draw, part, name, drawn, stream("captions"), stream("grain"))
        scene = _scene(spec, site, drawn if names is SHAPES else None, count, stream("scene"))
        images = ArrayImages(render(scene, stream("grain")))
        told = [names[label] for label in drawn]
        if name == "questions":
            kinds = np.array([questions.KINDS.index(kind) for kind in told])
            codes = (kinds, np.full(count, _ASKED_AS), np.full(count, _PLAIN))
            return Drawn(images, *questions.dialogue(scene, *codes, stream("checks")), told)
        answers = {"shapes": told, "pictures": [""] * count, "captions": _described(scene)}[name]
        return Drawn(images, [""] * count, answers, told)


def _scene(spec: TaskWorldSpec, site: int, shape: Ints | None, count: int, rng: np.random.Generator) -> Scene:
    """Objects of these shapes (or any); a share of the pictures is in the own style of the site's group."""
    any_shape, colour, texture = (rng.integers(0, len(words), count) for words in (SHAPES, COLOUR_NAMES, TEXTURES))
    own = STYLES.index(OWN_STYLES[site // len(spec.archetypes)])
    seen = np.array([STYLES.index(style) for style in PRETRAIN_STYLES])[rng.integers(0, len(PRETRAIN_STYLES), count)]
    style = np.where(rng.permutation(count) < round(spec.feature_skew * count), own, seen)
    return compose(any_shape if shape is None else shape, colour, texture, style, rng)


def _described(scene: Scene) -> list[str]:
    return [f"{TEXTURES[t]} {COLOUR_NAMES[c]} {SHAPES[s]}"
            for t, c, s in zip(scene.texture, scene.colour, scene.shape, strict=True)]  # fmt: skip


def _captions(
    draw: int, part: str, name: str, colours: Ints, rng: np.random.Generator, grain: np.random.Generator
) -> Drawn:
    scene, texts, sides = _pool(draw, name)
    place = np.array([rng.choice(np.flatnonzero(sides[part] & (scene.colour == colour))) for colour in colours])
    said = [COLOUR_NAMES[colour] for colour in colours]
    return Drawn(ArrayImages(render(scene.take(place), grain)), [texts[p] for p in place], said, said)


@lru_cache(maxsize=4)
def _pool(draw: int, name: str) -> tuple[Scene, list[str], dict[str, NDArray[np.bool_]]]:
    """Scenes with a text each, all texts different, and which belong to which part: no text is in both."""
    rng = numpy_generator(draw, "tasks", "captions" if name == "colours" else name)
    shape, colour, texture, style = (
        rng.integers(0, len(words), _POOL) for words in (SHAPES, COLOUR_NAMES, TEXTURES, STYLES)
    )
    scene = compose(shape, colour, texture, style, rng)
    texts = _SAID[name](scene, rng)
    _, first = np.unique(texts, return_index=True)
    held = rng.random(len(first)) < 1 / 4
    return scene.take(first), [texts[row] for row in first], {"train": ~held, "test": held}
