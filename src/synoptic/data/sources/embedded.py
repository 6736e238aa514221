"""The two sources that need no file: real digits and the generated world."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from synoptic.core.errors import SynopticError
from synoptic.data import digits
from synoptic.data.images import ArrayImages
from synoptic.data.sources.source import Source
from synoptic.data.spec import DataSpec
from synoptic.data.styles import STYLES
from synoptic.data.table import ExampleTable
from synoptic.data.world import Scene, render
from synoptic.data.world_task import WorldTask, world_task


def digits_source(spec: DataSpec) -> Source:
    """scikit-learn's handwritten digits with their fixed split."""
    pictures, labels = digits.load()
    train, test = digits.split()
    words = _renamed(digits.CLASS_NAMES, spec)
    return Source(
        ExampleTable("digits/train", ArrayImages(pictures[train]), labels[train], words),
        ExampleTable("digits/test", ArrayImages(pictures[test]), labels[test], words),
        digits.TEMPLATE,
    )


def world_source(spec: DataSpec) -> Source:
    """A classification task of the world. It depends on ``spec.draw`` and the world's options, not on a run's seed."""
    task = world_task(
        spec.draw,
        20 if spec.classes is None else spec.classes,
        spec.novel,
        spec.per_class,
        spec.test_per_class,
        spec.styles,
        spec.style_strength,
    )
    train, test = _rendered(task)
    words = _renamed(task.class_names, spec)
    return Source(
        _world_table("world/train", train, task.train, task.train_labels, words, spec),
        _world_table("world/test", test, task.test, task.test_labels, words, spec),
    )


@lru_cache(maxsize=4)
def _rendered(task: WorldTask) -> tuple[ArrayImages, ArrayImages]:
    # Keyed by the task object, which world_task itself remembers: two runs on one draw render it once.
    train = ArrayImages(render(task.train, task.grain("train")))
    return train, ArrayImages(render(task.test, task.grain("test")))


def _world_table(
    name: str, images: ArrayImages, scene: Scene, labels: np.ndarray, words: tuple[str, ...], spec: DataSpec
) -> ExampleTable:
    positions = {STYLES.index(style): place for place, style in enumerate(spec.styles)}
    domains = np.array([positions[int(style)] for style in scene.style], dtype=np.int64)
    return ExampleTable(name, images, labels, words, domains, spec.styles)


def _renamed(words: tuple[str, ...], spec: DataSpec) -> tuple[str, ...]:
    if spec.class_names is None:
        return words
    if len(spec.class_names) != len(words):
        raise SynopticError(
            f"data.class_names has {len(spec.class_names)} words, but {spec.source} has {len(words)} classes",
            "give one word per class",
        )
    return spec.class_names
