from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synoptic.core import SynopticError
from synoptic.data.table import ExampleTable
from synoptic.data.words import Words
from synoptic.learning.task_rows import TaskRows
from tasking import task_bench


def silent(table: ExampleTable, row: int, text: str) -> ExampleTable:
    """The table with another text in one row."""
    assert table.words is not None
    questions = list(table.words.questions)
    questions[row] = text
    return replace(table, words=Words(tuple(questions), table.words.answers))


@pytest.mark.parametrize("text", ["", "  \n"])
def test_a_text_that_is_missing_is_told_before_anything_is_read(text: str) -> None:
    on = task_bench()
    assert on.tasking is not None
    table = on.data.test
    assert table.domains is not None
    row = int(np.flatnonzero(table.domains == table.domain_names.index("colours"))[1])
    order = np.arange(len(table))
    with pytest.raises(SynopticError, match=f"row {row} of tasks/test has no text, and its task 'colours' reads one"):
        TaskRows(on.tasking.model, silent(table, row, text), order, None)


def test_rows_that_nobody_asks_for_and_tasks_that_read_no_text_need_none() -> None:
    on = task_bench()
    assert on.tasking is not None
    table = on.data.test
    colours = on.tasking.test_rows.task(np.arange(len(table))) == table.domain_names.index("colours")
    first, shapes = int(np.flatnonzero(colours)[0]), np.flatnonzero(~colours)
    assert table.words is not None
    assert all(table.words.questions[row] == "" for row in shapes)
    rows = TaskRows(on.tasking.model, silent(table, first, ""), np.flatnonzero(np.arange(len(table)) != first), None)
    assert set(rows.task(shapes)) == {table.domain_names.index("shapes")}
