from __future__ import annotations

import pytest

from synoptic.core import SynopticError
from synoptic.data.task_spec import TaskWorldSpec
from synoptic.data.task_world import build_tasks
from synoptic.data.tasks import Task, checked_tasks, targets

SHAPES = Task("shapes", "classify", ("image",), ("circle", "star"))


def test_modalities_have_one_order_and_a_family_is_the_name_by_default() -> None:
    task = Task("asks", "generate", ("text", "image"))
    assert task.modalities == ("image", "text")
    assert task.family == "asks"
    assert task == Task("asks", "generate", ("image", "text"), family="asks")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("a/b", "generate", ("image",)), "'a/b' cannot name a task; use small letters"),
        (("", "generate", ("image",)), "'' cannot name a task"),
        (("a", "generate", ("image",), (), "b.c"), "'b.c' cannot name a task"),
        (("a", "generate", ()), r"task 'a' reads \[\]; name image, text or both"),
        (("a", "generate", ("image", "image")), "name image, text or both, once"),
        (("a", "generate", ("sound",)), "name image, text or both"),
        (("a", "classify", ("image",)), r"\(classify\) has the labels \[\]"),
        (("a", "classify", ("image",), ("x", "x")), "each once"),
        (("a", "generate", ("image",), ("x",)), "other kinds none"),
        (("a", "reconstruct", ("text",)), "reconstruct a picture that it does not read"),
    ],
)
def test_what_is_no_task(arguments: tuple[object, ...], what: str) -> None:
    with pytest.raises(SynopticError, match=what):
        Task(*arguments)  # type: ignore[arg-type]


def test_the_same_task_twice_is_one() -> None:
    again = Task("shapes", "classify", ("image",), ("circle", "star"))
    other = Task("texts", "generate", ("text",))
    assert checked_tasks([SHAPES, other, again]) == (SHAPES, other)


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (Task("shapes", "classify", ("image",), ("star", "circle")), r"labels: \(circle, star\), and \(star, circle\)"),
        (Task("shapes", "classify", ("text",), ("circle", "star")), r"modalities: \(image\), and \(text\)"),
        (Task("shapes", "generate", ("image",)), "kind: 'classify', and 'generate'"),
        (Task("shapes", "classify", ("image",), ("circle", "star"), "kin"), "family: 'shapes', and 'kin'"),
    ],
)
def test_one_name_for_two_tasks_is_refused_with_both(other: Task, difference: str) -> None:
    with pytest.raises(SynopticError, match=f"two tasks are called 'shapes' and differ in {difference}; give them"):
        checked_tasks([SHAPES, other])


def test_no_task_is_refused() -> None:
    with pytest.raises(SynopticError, match="there is no task"):
        checked_tasks([])


def test_targets_are_places_among_the_labels_and_a_strange_answer_is_told() -> None:
    spec = TaskWorldSpec(archetypes=(("shapes", "captions"),), groups=1, train=6, test=3)
    data = build_tasks(spec, 0)
    found = targets(data.train, data.tasks[0], 0)
    assert data.train.words is not None
    for row, place in enumerate(found):
        asked = data.train.domains[row] == 0
        assert (data.tasks[0].labels[place] == data.train.words.answers[row]) if asked else place == -1
    few = Task("shapes", "classify", ("image",), ("circle",))
    with pytest.raises(SynopticError, match=r"row \d+ of tasks/train answers '\w+', which is no label of 'shapes'"):
        targets(data.train, few, 0)
