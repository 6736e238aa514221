"""Tasks on data of one's own: rows of any source, dealt out to the sites that have the task.

A task's rows are dealt without replacement, in the order of the sites, so a further site changes nothing of those
before it. What a test row of any task shows is trained on in none: pictures are compared by content, texts that are
read without a picture by their words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synoptic.core.errors import SynopticError, nearest
from synoptic.core.seeds import numpy_generator
from synoptic.data.images import choose
from synoptic.data.partition.dirichlet import shares
from synoptic.data.sources.source import Source
from synoptic.data.table import ExampleTable
from synoptic.data.task_sites import PARTS, Drawn
from synoptic.data.task_spec import FILES, OwnTaskSpec, TaskWorldSpec
from synoptic.data.tasks import Task, checked_tasks
from synoptic.data.words import Words

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class OwnGiver:
    """Gives rows of a task of one's own; see `synoptic.data.task_sites.Giver`.

    Attributes:
        task: which.
        tables: by part.
        dealt: positions in the part's table by part and site.
    """

    task: Task
    tables: Mapping[str, ExampleTable]
    dealt: dict[tuple[str, int], Ints] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """What a skew of labels is over."""
        return self.tables["train"].class_names

    def rows(self, part: str, site: int) -> Drawn:
        """What was dealt to a site."""
        table, positions = self.tables[part], self.dealt[part, site]
        labels = [table.class_names[label] for label in table.labels[positions]]
        words = table.words.take(positions) if table.words else Words(("",) * len(positions), tuple(labels))
        silent = ("",) * len(positions)
        asked = words.questions if "text" in self.task.modalities else silent
        said = silent if self.task.kind == "reconstruct" else words.answers
        return Drawn(choose(table.images, positions), asked, said, labels)


def own_givers(spec: TaskWorldSpec, used: Sequence[str], taken: Mapping[str, Task], root: Path) -> dict[str, OwnGiver]:
    """A giver for each of one's own tasks that a site has, everything dealt.

    Args:
        spec: what there is, and how sites differ.
        used: names of tasks that sites have.
        taken: tasks that exist already.
        root: where paths start.

    Raises:
        SynopticError: data that cannot be read, two tasks of one name, or fewer rows than the sites want.
    """
    opened = [_opened(own, root) for own in spec.own if own.name in used]
    checked_tasks([task for name, task in taken.items() if name in used] + [giver.task for giver in opened])
    givers = {giver.task.name: giver for giver in opened}
    if len(givers) < len(opened):
        twice = next(giver.task.name for giver in opened if givers[giver.task.name] is not giver)
        raise SynopticError(f"data.tasks.own has two tasks called '{twice}'", "give each a name of its own")
    tested: set[str] = set()
    for part in PARTS[::-1]:
        for giver in givers.values():
            _Dealer(spec, giver, part, tested if part == "train" else frozenset()).deal()
        if part == "test":
            tested = {content for giver in givers.values() for key, rows in giver.dealt.items() if key[0] == "test"
                      for content in giver.tables["test"].content_hashes(rows)}  # fmt: skip
    return givers


# -- reading --------------------------------------------------------------------------------------------------------


def _opened(own: OwnTaskSpec, root: Path) -> OwnGiver:
    # A source is opened with a section of the recipe that has the sections of tasks in it.
    from synoptic.data.sources import OPENERS, open_source

    if own.source not in OPENERS:
        raise SynopticError(f"task '{own.name}' has the source '{own.source}', which is not known",
                            nearest(own.source, OPENERS))  # fmt: skip
    try:
        source = open_source(_data_spec(own, root))
    except SynopticError as error:
        fix = (error.fix or "").replace("data.question", "text").replace("data.", "")
        raise SynopticError(f"task '{own.name}': {error.what}", fix) from error
    return OwnGiver(_task(own, source), {"train": source.train, "test": source.test})


def _data_spec(own: OwnTaskSpec, root: Path) -> Any:
    from synoptic.data.spec import DataSpec

    given: dict[str, Any] = {"source": own.source, "novel": 0.0}
    for option, path in (("path", own.path), ("test_path", own.test_path)):
        if path is not None:
            given[option] = str(root / path) if own.source in FILES else path
    columns = {"image": own.image, "label": own.label, "domain": own.domain}
    if own.kind == "generate" or "text" in own.reads:
        asked = {"question": own.text} if own.text is not None else {"instruction": own.name}
        columns |= {**asked, "answer": own.answer or own.label}
        # What is read without a picture needs no column of them: its own words stand in.
        columns |= {"image": own.text} if own.reads == ("text",) else {}
    # Sources without columns refuse their names, and defaults are no names.
    plain = {} if own.source in ("parquet", "hub") else {"image": "image", "label": "label"}
    return DataSpec.model_validate(given | {key: value for key, value in columns.items() if value != plain.get(key)})


def _task(own: OwnTaskSpec, source: Source) -> Task:
    labels: tuple[str, ...] = ()
    if own.kind == "classify":
        labels = source.train.class_names
        if len(set(labels)) != len(labels):
            raise SynopticError(f"task '{own.name}' has two labels of one name", "give every label its own name")
    return Task(own.name, own.kind, own.reads, labels, own.family)


# -- dealing --------------------------------------------------------------------------------------------------------


class _Dealer:
    """Deals the rows of one task and part to the sites that have it.

    Args:
        spec: how many, and how sites differ.
        giver: gets what is dealt.
        part: train or test.
        tested: hashes of what must not be dealt.
    """

    def __init__(self, spec: TaskWorldSpec, giver: OwnGiver, part: str, tested: frozenset[str] | set[str]) -> None:
        self._spec, self._giver, self._part, self._tested = spec, giver, part, tested
        self._table, self._name = giver.tables[part], giver.task.name
        self._count = spec.train if part == "train" else spec.test
        self._free = np.ones(len(self._table), dtype=bool)
        if giver.task.modalities == ("text",):
            # Many tables repeat a text for every picture of it.
            _, first = np.unique(self._table.signatures(np.arange(len(self._table))), return_index=True)
            self._free[:] = False
            self._free[first] = True

    def deal(self) -> None:
        """Deal to every site.

        Raises:
            SynopticError: not enough rows.
        """
        sites = [site for site, names in enumerate(self._spec.sites) if self._name in names]
        there = int(self._free.sum())
        for site in sites:
            rows = self._rows(site)
            if len(rows) < self._count:
                raise SynopticError(
                    f"task '{self._name}' has {there:,} different {self._part} rows, and {len(sites)} sites want "
                    f"{self._count:,} each", f"lower data.tasks.{self._part} or data.tasks.groups, or name fewer sites",
                )  # fmt: skip
            self._giver.dealt[self._part, site] = np.sort(rows)

    def _rows(self, site: int) -> Ints:
        """A site's rows, first those of its group's own domain; fewer than wanted if there are no more."""
        rng = numpy_generator(self._spec.draw, "tasks", self._part, site, self._name, "rows")
        order = self._order(site, rng)
        own = round(self._spec.feature_skew * self._count)
        domains = self._table.domains
        if domains is None or not own:
            return self._take(order, self._count)
        mine = (site // len(self._spec.archetypes)) % len(self._table.domain_names)
        first = self._take(order[domains[order] == mine], own)
        return np.concatenate([first, self._take(order[self._free[order]], self._count - len(first))])

    def _order(self, site: int, rng: np.random.Generator) -> Ints:
        """Free rows in the order in which the site would have them: a draw without replacement, skewed by label."""
        free, labels = np.flatnonzero(self._free), self._table.labels
        names = self._giver.labels
        chances = np.full(len(names), 1 / len(names))
        if self._spec.label_skew is not None:
            stream = numpy_generator(self._spec.draw, "tasks", "skew", site, self._name)
            chances = shares(len(names), self._spec.label_skew, stream)
        # Adding Gumbel noise to logarithms of weights and sorting draws without replacement by these weights.
        weight = chances / np.maximum(np.bincount(labels[free], minlength=len(names)), 1)
        keys = np.log(np.maximum(weight[labels[free]], 1e-300)) + rng.gumbel(size=len(free))
        return free[np.argsort(-keys, kind="stable")]

    def _take(self, order: Ints, count: int) -> Ints:
        """The first ``count`` of the order that show nothing tested; they are free no longer."""
        taken: list[int] = []
        for start in range(0, len(order), max(count, 1)):
            if len(taken) >= count:
                break
            some = order[start : start + count]
            known = self._table.content_hashes(some) if self._tested else [""] * len(some)
            self._free[some[[content in self._tested for content in known]]] = False
            taken += [int(row) for row, content in zip(some, known, strict=True) if content not in self._tested]
        rows = np.array(taken[:count], dtype=np.int64)
        self._free[rows] = False
        return rows
