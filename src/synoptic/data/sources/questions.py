"""The world's questions as a source: groups of sites are the domains; kinds, or with tastes shapes, the classes."""

from __future__ import annotations

from synoptic.data.images import ArrayImages
from synoptic.data.question_spec import QuestionSpec
from synoptic.data.question_task import Asked, QuestionTask, group_count, question_task
from synoptic.data.shapes import SHAPES
from synoptic.data.sources.source import Source
from synoptic.data.spec import DataSpec
from synoptic.data.table import ExampleTable


def questions_source(spec: DataSpec) -> Source:
    """Questions about the world. They depend on ``spec.questions`` and the number of groups, not on a run's seed."""
    asked = spec.questions or QuestionSpec()
    task = question_task(asked, group_count(asked, spec.clients))
    public, public_test = (
        None if rows is None else _table(f"questions/{part}", rows, task, asked)
        for part, rows in (("public", task.public), ("public-test", task.public_test))
    )
    train, test = (_table(f"questions/{part}", getattr(task, part), task, asked) for part in ("train", "test"))
    return Source(train, test, pool=public, pool_test=public_test)


def _table(name: str, rows: Asked, task: QuestionTask, spec: QuestionSpec) -> ExampleTable:
    # Descriptions are all of one kind; what a picture shows is what they can be skewed by, or held out.
    labels, names = (rows.kinds, task.kinds) if spec.tastes is None else (rows.scene.shape, SHAPES)
    return ExampleTable(name, ArrayImages(rows.images), labels, names, rows.groups, task.groups, rows.words)
