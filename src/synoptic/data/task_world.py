"""Five tasks of the world, shared by sites that have one or two of them each.

Every (site, task) pair draws its rows from streams of its own, so another site or task changes nothing of it. A row
shows a picture of the world; a task that reads none never opens it. Sites of one group see a part of their pictures in
a style of their own (feature skew), and may hold some labels more often than others (label skew).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from synoptic.core.errors import SynopticError, nearest
from synoptic.core.seeds import numpy_generator
from synoptic.data import questions
from synoptic.data.clients import ClientIndex
from synoptic.data.images import ArrayImages
from synoptic.data.partition.dirichlet import shares
from synoptic.data.rows import Rows
from synoptic.data.shapes import SHAPES
from synoptic.data.shares import validation
from synoptic.data.sources.source import TEMPLATE
from synoptic.data.styles import STYLES
from synoptic.data.table import ExampleTable
from synoptic.data.task_spec import TaskWorldSpec
from synoptic.data.tasks import Task, TaskData, checked_tasks, tests_by_task
from synoptic.data.words import Words
from synoptic.data.world import COLOUR_NAMES, PRETRAIN_STYLES, TEXTURES, Images, Scene, caption, compose, render

Ints = NDArray[np.int64]

ASKED: Final = ("colour", "shape", "texture", "place")
TASKS: Final = {
    task.name: task
    for task in (
        Task("shapes", "classify", ("image",), SHAPES),
        Task("colours", "classify", ("text",), COLOUR_NAMES),
        Task("pictures", "reconstruct", ("image",)),
        Task("questions", "generate", ("image", "text")),
        Task("captions", "generate", ("image",)),
    )
}
"""Shapes of pictures, colours that captions name, pictures themselves, answers to questions, descriptions."""

OWN_STYLES: Final = ("pastel", "blurred", *PRETRAIN_STYLES)
_POOL: Final = 8000  # captions; about two thirds are different texts
_ASKED_AS: Final = questions.PHRASINGS.index("short")
_PLAIN: Final = questions.MANNERS.index("plain")


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Rows of one site and task in one part."""

    images: Images
    questions: list[str]
    answers: list[str]
    labels: list[str]


@dataclass(frozen=True, eq=False)
class TaskWorld:
    """All rows, and whose they are.

    Attributes:
        train, test: tables whose domains are the tasks.
        tasks: in the order of these domains.
        pairs: of each training row, the (site, task) pair it was drawn for.
        owner: of each pair, its site.
        tested: of each test row, its site.
        sites: how many there are.
    """

    train: ExampleTable
    test: ExampleTable
    tasks: tuple[Task, ...]
    pairs: Ints
    owner: Ints
    tested: Ints
    sites: int

    def clients(self, validation_share: float, seed: int) -> ClientIndex:
        """Everybody holds what was drawn for it; of each of its tasks a part is set aside. The seed says which."""
        rng = numpy_generator(seed, "tasks", "validation")
        aside = validation(self.pairs, len(self.owner), validation_share, rng)
        holder = self.owner[self.pairs]
        owners = np.where(aside, -1, holder), np.where(aside, holder, -1), self.tested
        train, val, test = (Rows.grouped(owner, self.sites) for owner in owners)
        return ClientIndex(train, val, test)


@lru_cache(maxsize=4)
def task_world(spec: TaskWorldSpec) -> TaskWorld:
    """Draw everything; remembered, because two runs on one draw need it drawn once.

    Raises:
        SynopticError: a task that does not exist or that a site has twice.
    """
    sites = [archetype for _ in range(spec.groups) for archetype in _checked(spec)]
    tasks = checked_tasks(TASKS[name] for archetype in spec.archetypes for name in archetype)
    pairs = [(site, name) for site, names in enumerate(sites) for name in names]
    parts = {part: [_rows(spec, part, site, name) for site, name in pairs] for part in ("train", "test")}
    labels = tuple(dict.fromkeys(label for name in (t.name for t in tasks) for label in _labels(name)))
    train, test = (_table(part, parts[part], [name for _, name in pairs], tasks, labels) for part in parts)
    counts = {part: [len(rows.labels) for rows in parts[part]] for part in parts}
    owner = np.array([site for site, _ in pairs], dtype=np.int64)
    return TaskWorld(train, test, tasks, np.repeat(np.arange(len(pairs)), counts["train"]), owner,
                     np.repeat(owner, counts["test"]), len(sites))  # fmt: skip


def build_tasks(spec: TaskWorldSpec, seed: int) -> TaskData:
    """The world's tasks without a recipe. The seed decides what is set aside for validation, nothing else.

    Raises:
        SynopticError: a task that does not exist or that a site has twice.
    """
    world = task_world(spec)
    none, classes = np.zeros(0, dtype=np.int64), np.arange(len(world.train.class_names))
    return TaskData(world.train, world.test, classes, none, TEMPLATE, tests_by_task(world.test),
                    world.clients(spec.validation, seed), tasks=world.tasks)  # fmt: skip


def _checked(spec: TaskWorldSpec) -> tuple[tuple[str, ...], ...]:
    for archetype in spec.archetypes:
        for name in archetype:
            if name not in TASKS:
                raise SynopticError(f"data.tasks.archetypes names '{name}', which is no task", nearest(name, TASKS))
        if not archetype or len(set(archetype)) != len(archetype):
            raise SynopticError(f"a site cannot have the tasks {list(archetype)}", "name at least one, each once")
    return spec.archetypes


def _labels(name: str) -> tuple[str, ...]:
    """What a skew of labels is over: classes, kinds of questions, shapes of what is drawn."""
    return {"colours": COLOUR_NAMES, "questions": ASKED}.get(name, SHAPES)


# -- rows ---------------------------------------------------------------------------------------------------------


def _rows(spec: TaskWorldSpec, part: str, site: int, name: str) -> _Drawn:
    count = spec.train if part == "train" else spec.test
    names = _labels(name)
    # A site's labels are skewed alike in both parts.
    chances = np.full(len(names), 1 / len(names))
    if spec.label_skew is not None:
        chances = shares(len(names), spec.label_skew, numpy_generator(spec.draw, "tasks", "skew", site, name))

    def stream(purpose: str) -> np.random.Generator:
        return numpy_generator(spec.draw, "tasks", part, site, name, purpose)

    drawn = stream("labels").choice(len(names), count, p=chances)
    if name == "colours":
        return _captions(spec.draw, part, drawn, stream("captions"), stream("grain"))
    scene = _scene(spec, site, drawn if names is SHAPES else None, count, stream("scene"))
    images = render(scene, stream("grain"))
    told = [names[label] for label in drawn]
    if name == "questions":
        kinds = np.array([questions.KINDS.index(kind) for kind in told])
        codes = (kinds, np.full(count, _ASKED_AS), np.full(count, _PLAIN))
        return _Drawn(images, *questions.dialogue(scene, *codes, stream("checks")), told)
    answers = {"shapes": told, "pictures": [""] * count, "captions": _described(scene)}[name]
    return _Drawn(images, [""] * count, answers, told)


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


def _captions(draw: int, part: str, colours: Ints, rng: np.random.Generator, grain: np.random.Generator) -> _Drawn:
    scene, texts, sides = _pool(draw)
    place = np.array([rng.choice(np.flatnonzero(sides[part] & (scene.colour == colour))) for colour in colours])
    said = [COLOUR_NAMES[colour] for colour in colours]
    return _Drawn(render(scene.take(place), grain), [texts[p] for p in place], said, said)


@lru_cache(maxsize=2)
def _pool(draw: int) -> tuple[Scene, list[str], dict[str, NDArray[np.bool_]]]:
    """Scenes with a caption each, all texts different, and which belong to which part: no text is in both."""
    rng = numpy_generator(draw, "tasks", "captions")
    shape, colour, texture, style = (
        rng.integers(0, len(words), _POOL) for words in (SHAPES, COLOUR_NAMES, TEXTURES, STYLES)
    )
    scene = compose(shape, colour, texture, style, rng)
    texts = caption(scene, rng)
    _, first = np.unique(texts, return_index=True)
    held = rng.random(len(first)) < 1 / 4
    return scene.take(first), [texts[row] for row in first], {"train": ~held, "test": held}


# -- tables and clients -------------------------------------------------------------------------------------------


def _table(
    part: str, drawn: list[_Drawn], names: list[str], tasks: tuple[Task, ...], labels: tuple[str, ...]
) -> ExampleTable:
    order = {task.name: index for index, task in enumerate(tasks)}
    number = {label: index for index, label in enumerate(labels)}
    counts = [len(rows.labels) for rows in drawn]
    words = Words(tuple(text for rows in drawn for text in rows.questions),
                  tuple(text for rows in drawn for text in rows.answers))  # fmt: skip
    return ExampleTable(
        f"tasks/{part}", ArrayImages(np.concatenate([rows.images for rows in drawn])),
        np.array([number[label] for rows in drawn for label in rows.labels], dtype=np.int64), labels,
        np.repeat([order[name] for name in names], counts).astype(np.int64), tuple(order), words,
    )  # fmt: skip
