"""The world's questions as a source: kinds are the classes, groups of sites the domains."""

from __future__ import annotations

from synoptic.data.images import ArrayImages
from synoptic.data.question_task import Asked, QuestionTask, group_count, question_task
from synoptic.data.sources.source import Source
from synoptic.data.spec import DataSpec, QuestionSpec
from synoptic.data.table import ExampleTable


def questions_source(spec: DataSpec) -> Source:
    """Questions about the world. They depend on ``spec.questions`` and the number of groups, not on a run's seed."""
    asked = spec.questions or QuestionSpec()
    task = question_task(asked, group_count(asked, spec.clients))
    return Source(_table("questions/train", task.train, task), _table("questions/test", task.test, task))


def _table(name: str, rows: Asked, task: QuestionTask) -> ExampleTable:
    return ExampleTable(name, ArrayImages(rows.images), rows.kinds, task.kinds, rows.groups, task.groups, rows.words)
