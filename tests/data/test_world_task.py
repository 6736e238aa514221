from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synoptic.core import SynopticError
from synoptic.data.shapes import SHAPES
from synoptic.data.styles import STYLES
from synoptic.data.world_task import WorldTask, world_task


def task(
    draw: int = 0, classes: object = 20, novel: object = 0.5, per_class: int = 4, styles: object = ("pastel", "blurred")
) -> WorldTask:
    return world_task(draw, classes, novel, per_class, 2, styles, 0.75)  # type: ignore[arg-type]


@given(draw=st.integers(0, 50), classes=st.integers(2, 40), novel=st.floats(0, 0.9))
def test_novel_shapes_are_no_base_shapes(draw: int, classes: int, novel: float) -> None:
    try:
        made = task(draw, classes, novel)
    except SynopticError as error:
        assert "classes to draw from" in str(error)
        return
    base, held = made.pairs[: classes - made.novel], made.pairs[classes - made.novel :]
    assert len(set(made.pairs)) == classes
    assert made.novel == round(novel * classes)
    assert not {shape for _, shape in base} & {shape for _, shape in held}


def test_default_draw_fits_the_documented_sizes() -> None:
    made = task(per_class=100)
    assert len(made.class_names) == 20
    assert made.novel == 10
    assert len(made.train) == 1000
    assert set(made.train_labels) == set(range(10))


def test_every_class_is_balanced_over_the_styles() -> None:
    made = task()
    for label in range(10):
        styles = made.train.style[made.train_labels == label]
        assert [STYLES[i] for i in np.unique(styles)] == ["pastel", "blurred"]
        assert (np.bincount(styles)[np.unique(styles)] == 2).all()


def test_labels_match_the_record() -> None:
    made = task()
    for label, colour, shape in zip(made.test_labels, made.test.colour, made.test.shape, strict=True):
        assert made.pairs[label] == (colour, shape)


def test_draws_differ_and_repeat() -> None:
    assert task(0).class_names == task(0).class_names
    assert task(0).class_names != task(1).class_names


def test_named_classes_and_novel_names() -> None:
    made = task(classes=("red circle", "blue star", "green ring"), novel=("blue star",))
    assert made.class_names == ("red circle", "green ring", "blue star")
    assert made.novel == 1
    drawn = task(classes=5, novel=("red circle", "blue star"))
    assert drawn.class_names[3:] == ("red circle", "blue star")
    assert not any(SHAPES[shape] in ("circle", "star") for _, shape in drawn.pairs[:3])


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"classes": ("red blob",)}, "'red blob' is no class of the world"),
        ({"classes": ("red circle", "red circle")}, "names a class twice"),
        ({"classes": 500}, "base classes to draw from, not 250"),
        ({"styles": ("pastell",)}, "did you mean 'pastel'?"),
        ({"styles": ("night", "night")}, "names a style twice"),
    ],
)
def test_wrong_worlds_are_explained(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(SynopticError, match=sentence.replace("?", r"\?")):
        task(**wrong)  # type: ignore[arg-type]
