"""Sites with tasks: rows that were drawn for each (site, task) pair, put together to tables, and whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from synoptic.core.seeds import numpy_generator
from synoptic.data.clients import ClientIndex
from synoptic.data.images import ImageStore
from synoptic.data.rows import Rows
from synoptic.data.shares import validation_together
from synoptic.data.table import ExampleTable
from synoptic.data.task_images import joined
from synoptic.data.tasks import Task, checked_tasks
from synoptic.data.words import Words

Ints = NDArray[np.int64]
PARTS = ("train", "test")


@dataclass(frozen=True, eq=False)
class Drawn:
    """Rows of one site and task in one part.

    Attributes:
        images: as many as there are rows.
        questions: what is read with them, empty where the task reads no text.
        answers: what is right.
        labels: what a skew of labels is over.
    """

    images: ImageStore
    questions: Sequence[str]
    answers: Sequence[str]
    labels: Sequence[str]


class Giver(Protocol):
    """Gives every site the rows of one task.

    Attributes:
        task: which.
        labels: all that its rows may be labelled with.
    """

    @property
    def task(self) -> Task: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    def rows(self, part: str, site: int) -> Drawn:
        """The rows of a site that has the task."""


@dataclass(frozen=True, eq=False)
class TaskSites:
    """All rows, and whose they are.

    Attributes:
        train, test: tables whose domains are the tasks.
        tasks: in the order of these domains.
        pairs: of each training row, the (site, task) pair it was drawn for.
        owner: of each pair, its site.
        tested: of each test row, its site.
        together: of each training row the first that shows the same; those of one pair are set aside together.
        sites: how many there are.
    """

    train: ExampleTable
    test: ExampleTable
    tasks: tuple[Task, ...]
    pairs: Ints
    owner: Ints
    tested: Ints
    together: Ints
    sites: int

    def clients(self, validation_share: float, seed: int) -> ClientIndex:
        """Everybody holds what was drawn for it; of each of its tasks a part is set aside. The seed says which."""
        rng = numpy_generator(seed, "tasks", "validation")
        aside = validation_together(self.pairs, len(self.owner), validation_share, rng, self.together)
        holder = self.owner[self.pairs]
        owners = np.where(aside, -1, holder), np.where(aside, holder, -1), self.tested
        train, val, test = (Rows.grouped(owner, self.sites) for owner in owners)
        return ClientIndex(train, val, test)


def gather(sites: Sequence[Sequence[str]], givers: dict[str, Giver]) -> TaskSites:
    """Every site's rows of every task of its own, site by site.

    Args:
        sites: each one's tasks.
        givers: by task, in the order that the tables' domains are to have.

    Raises:
        SynopticError: two different tasks of one name.
    """
    pairs = [(site, name) for site, names in enumerate(sites) for name in names]
    drawn = {part: [givers[name].rows(part, site) for site, name in pairs] for part in PARTS}
    tasks = checked_tasks(giver.task for giver in givers.values())
    labels = tuple(dict.fromkeys(label for giver in givers.values() for label in giver.labels))
    train, test = (_table(part, drawn[part], [name for _, name in pairs], tasks, labels) for part in PARTS)
    counts = {part: [len(rows.labels) for rows in drawn[part]] for part in PARTS}
    owner = np.array([site for site, _ in pairs], dtype=np.int64)
    # Of rows of one task, two may show the same picture where sources ask several things about it.
    shown = train.signatures(np.arange(len(train)))
    _, first, place = np.unique(shown, return_index=True, return_inverse=True)
    return TaskSites(train, test, tasks, np.repeat(np.arange(len(pairs)), counts["train"]), owner,
                     np.repeat(owner, counts["test"]), first[place].astype(np.int64), len(sites))  # fmt: skip


def _table(
    part: str, drawn: list[Drawn], names: list[str], tasks: tuple[Task, ...], labels: tuple[str, ...]
) -> ExampleTable:
    order = {task.name: index for index, task in enumerate(tasks)}
    number = {label: index for index, label in enumerate(labels)}
    words = Words(tuple(text for rows in drawn for text in rows.questions),
                  tuple(text for rows in drawn for text in rows.answers))  # fmt: skip
    return ExampleTable(
        f"tasks/{part}", joined([rows.images for rows in drawn]),
        np.array([number[label] for rows in drawn for label in rows.labels], dtype=np.int64), labels,
        np.repeat([order[name] for name in names], [len(rows.labels) for rows in drawn]).astype(np.int64),
        tuple(order), words,
    )  # fmt: skip
