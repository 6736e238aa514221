"""Tasks: what is asked of a row, and data whose clients have different ones.

Rows of all tasks lie in one `ExampleTable`, whose domains are the tasks. A row's question is the text that it is read
with (empty where the task reads none), its answer the label or text that is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from synoptic.core.errors import SynopticError
from synoptic.data.federated import FederatedData
from synoptic.data.table import ExampleTable

Ints = NDArray[np.int64]
Kind = Literal["classify", "generate", "reconstruct"]
Modality = Literal["image", "text"]
MODALITIES: Final = get_args(Modality)
_WORDS: Final = "abcdefghijklmnopqrstuvwxyz0123456789_-"


@dataclass(frozen=True)
class Task:
    """What is read and what is wanted.

    Attributes:
        name: of the task and of its head: small letters, digits, ``_`` and ``-``.
        kind: ``classify`` (one of ``labels``), ``generate`` (a text) or ``reconstruct`` (the picture itself).
        modalities: what it reads, ``image``, ``text`` or both.
        labels: words of the classes, in order; empty for other kinds.
        family: tasks of one family share their backbone blocks and differ in their heads; the name when left out.

    """

    name: str
    kind: Kind
    modalities: tuple[Modality, ...]
    labels: tuple[str, ...] = ()
    family: str = ""

    def __post_init__(self) -> None:
        for word in (self.name, self.family or self.name):
            # The word becomes a part of tensor names, where slashes and dots mean something.
            if not word or set(word) - set(_WORDS):
                raise SynopticError(f"'{word}' cannot name a task", "use small letters, digits, _ and -")
        order = tuple(m for m in MODALITIES if m in self.modalities)
        if not order or len(order) != len(self.modalities):
            raise SynopticError(f"task '{self.name}' reads {list(self.modalities)}", "name image, text or both, once")
        object.__setattr__(self, "modalities", order)
        object.__setattr__(self, "family", self.family or self.name)
        self._check_kind()

    def _check_kind(self) -> None:
        if (self.kind == "classify") != bool(self.labels) or len(set(self.labels)) != len(self.labels):
            raise SynopticError(f"task '{self.name}' ({self.kind}) has the labels {list(self.labels)}",
                                "give classify its labels, each once, and other kinds none")  # fmt: skip
        if self.kind == "reconstruct" and "image" not in self.modalities:
            raise SynopticError(f"task '{self.name}' is to reconstruct a picture that it does not read",
                                "add image to what it reads")  # fmt: skip


def checked_tasks(tasks: Iterable[Task]) -> tuple[Task, ...]:
    """The tasks, each once, in the order of their first mention.

    Raises:
        SynopticError: two tasks of one name that differ, or none at all; the first difference is told with both sides.
    """
    known: dict[str, Task] = {}
    for task in tasks:
        other = known.setdefault(task.name, task)
        if other != task:
            field = next(f.name for f in fields(Task) if getattr(other, f.name) != getattr(task, f.name))
            one, two = (_shown(getattr(each, field)) for each in (other, task))
            raise SynopticError(f"two tasks are called '{task.name}' and differ in {field}: {one}, and {two}",
                                "give them different names, or the same definition")  # fmt: skip
    if not known:
        raise SynopticError("there is no task", "name at least one")
    return tuple(known.values())


def _shown(value: str | tuple[str, ...]) -> str:
    return f"({', '.join(value)})" if isinstance(value, tuple) else f"'{value}'"


@dataclass(frozen=True, eq=False)
class TaskData(FederatedData):
    """Federated data of several tasks; domains of both tables are the tasks.

    Attributes:
        tasks: in the order of ``train.domain_names``.

    """

    tasks: tuple[Task, ...] = ()

    def __post_init__(self) -> None:
        named = tuple(task.name for task in checked_tasks(self.tasks))
        for table in (self.train, self.test):
            if table.domains is None or table.words is None or table.domain_names != named:
                raise SynopticError(f"{table.name} does not tell which of the tasks {', '.join(named)} each row has",
                                    "make its domains the tasks, in their order, and give it words")  # fmt: skip

    @cached_property
    def client_tasks(self) -> list[tuple[int, ...]]:
        """Each client's tasks, indices into ``tasks``, ascending: those that it has training rows of."""
        return [tuple(np.unique(task_of(self.train, self.clients.train(k))).tolist()) for k in range(len(self.clients))]

    @property
    def local_splits(self) -> tuple[str, ...]:
        """``local/<task>`` of every task, because scores of different tasks cannot be averaged."""
        return tuple(f"local/{task.name}" for task in self.tasks)

    def local_rows(self, client: int, split: str) -> Ints:
        """A client's own test rows of the task that a split ``local/<task>`` names."""
        names, rows = [task.name for task in self.tasks], self.clients.test(client)
        own: Ints = rows[task_of(self.test, rows) == names.index(split.partition("/")[2])]
        return own

    def kinds(self, clients: Sequence[int]) -> dict[tuple[str, ...], list[int]]:
        """Clients by the names of their tasks, in the order of the first client of each."""
        found: dict[tuple[str, ...], list[int]] = {}
        for client in clients:
            found.setdefault(tuple(self.tasks[index].name for index in self.client_tasks[client]), []).append(client)
        return found


def task_of(table: ExampleTable, positions: Ints) -> Ints:
    """The task of each row, an index into the table's domains; the shape of ``positions``."""
    assert table.domains is not None, "a table without tasks"
    return table.domains[positions]


def tests_by_task(test: ExampleTable) -> dict[str, Ints]:
    """Positions of test rows by ``domain/<task>``; there is no split of several tasks."""
    found = task_of(test, np.arange(len(test)))
    return {f"domain/{name}": np.flatnonzero(found == index) for index, name in enumerate(test.domain_names)}


def targets(table: ExampleTable, task: Task, index: int) -> Ints:
    """Where each row's answer stands among the task's labels, int64 [n]; -1 for rows of other tasks.

    Raises:
        SynopticError: a row of the task whose answer is none of its labels.
    """
    assert table.words is not None, "a table without words"
    place = {label: number for number, label in enumerate(task.labels)}
    found = np.full(len(table), -1, dtype=np.int64)
    for row in np.flatnonzero(task_of(table, np.arange(len(table))) == index):
        answer = table.words.answers[row]
        if answer not in place:
            raise SynopticError(f"row {row} of {table.name} answers '{answer}', which is no label of '{task.name}'",
                                f"the labels are: {', '.join(task.labels)}")  # fmt: skip
        found[row] = place[answer]
    return found
