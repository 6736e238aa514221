"""Which of a source's classes, domains and rows a run uses, and which classes are never trained."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from synoptic.core.errors import SynopticError, nearest
from synoptic.core.seeds import numpy_generator
from synoptic.data.overlap import repeated_in
from synoptic.data.rows import apportion, rank_within
from synoptic.data.sources import Source
from synoptic.data.spec import DataSpec
from synoptic.data.table import ExampleTable

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Selection:
    """Rows and words to use.

    Attributes:
        train_rows, test_rows: ascending rows of the source's tables; train rows are of base classes only.
        classes, domains: indices into the source's words, in the run's order.
        novel: how many of ``classes``, at the end or not, are novel: indices into ``classes``.
        dropped: training rows left out because the test part has the same picture.
        public_rows: ascending rows of the source's train table that only the server has; none of ``train_rows``.

    """

    train_rows: Ints
    test_rows: Ints
    classes: Ints
    domains: Ints
    novel: Ints
    dropped: int
    public_rows: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @property
    def base(self) -> Ints:
        """Indices into ``classes`` of the classes that are trained."""
        return np.setdiff1d(np.arange(len(self.classes)), self.novel)


def select(source: Source, spec: DataSpec, seed: int) -> Selection:
    """Apply classes, novel, domains, the overlap rule and the limits, in this order; then check nothing is empty."""
    classes, novel = choose_classes(source.train.class_names, spec)
    domains = _domains(source.train.domain_names, spec)
    trained = np.delete(classes, novel)
    train_rows = rows_about(source.train, trained, domains)
    test_rows = rows_about(source.test, classes, domains)
    repeated = repeated_in(source.train, train_rows, source.test, test_rows)
    train_rows = _limited(source.train, train_rows[~repeated], spec.train_limit, seed, "train")
    test_rows = _limited(source.test, test_rows, spec.test_limit, seed, "test")
    _require_examples(source.train, train_rows, trained, "training")
    _require_examples(source.test, test_rows, classes, "test")
    return Selection(train_rows, test_rows, classes, domains, novel, int(repeated.sum()))


def everything(source: Source) -> Selection:
    """All of a source that has been shared out already."""
    sizes = (len(source.train), len(source.test), len(source.train.class_names), len(source.train.domain_names), 0)
    train, test, classes, domains, novel = (np.arange(size, dtype=np.int64) for size in sizes)
    return Selection(train, test, classes, domains, novel, 0)


def choose_classes(names: tuple[str, ...], spec: DataSpec) -> tuple[Ints, Ints]:
    """Indices into ``names`` of the classes used, and indices into these of the novel ones."""
    if spec.classes is None or spec.source == "world":  # the world has drawn its classes already
        chosen = np.arange(len(names))
    elif isinstance(spec.classes, int):
        if spec.classes > len(names):
            raise SynopticError(
                f"data.classes={spec.classes}, but {spec.source} has {len(names)} classes", "lower data.classes"
            )
        chosen = np.arange(spec.classes)
    else:
        chosen = _indices(spec.classes, names, "data.classes", "class")
    if isinstance(spec.novel, float):
        held = np.arange(len(chosen))[len(chosen) - round(spec.novel * len(chosen)) :]
    else:
        held = _indices(spec.novel, tuple(names[i] for i in chosen), "data.novel", "class in use")
    if len(held) == len(chosen):
        raise SynopticError(f"all {len(chosen)} classes are novel and none is left to train", "lower data.novel")
    return chosen.astype(np.int64), held.astype(np.int64)


def table_of(name: str, table: ExampleTable, rows: Ints, selection: Selection) -> ExampleTable:
    """The selected rows under the run's own class and domain numbers."""
    words = tuple(table.class_names[i] for i in selection.classes)
    labels = _renumber(len(table.class_names), selection.classes)[table.labels[rows]]
    taken = replace(table.take(rows), name=name, labels=labels, class_names=words)
    if taken.domains is None:
        return taken
    domains = _renumber(len(table.domain_names), selection.domains)[taken.domains]
    return replace(taken, domains=domains, domain_names=tuple(table.domain_names[i] for i in selection.domains))


def _renumber(count: int, chosen: Ints) -> Ints:
    numbers = np.full(count, -1, dtype=np.int64)
    numbers[chosen] = np.arange(len(chosen))
    return numbers


def _domains(names: tuple[str, ...], spec: DataSpec) -> Ints:
    if spec.domains is None:
        return np.arange(len(names))
    if not names:
        raise SynopticError(
            "data.domains is set, but the source has no domains", "name their column with data.domain or leave it out"
        )
    return _indices(spec.domains, names, "data.domains", "domain")


def _indices(wanted: tuple[str, ...], names: tuple[str, ...], option: str, what: str) -> Ints:
    if len(set(wanted)) != len(wanted):
        raise SynopticError(f"{option} names a {what.split(maxsplit=1)[0]} twice", "name each once")
    for word in wanted:
        if word not in names:
            raise SynopticError(f"{option} names {word!r}, which is no {what}", nearest(word, names))
    return np.array([names.index(word) for word in wanted], dtype=np.int64)


def rows_about(table: ExampleTable, classes: Ints, domains: Ints) -> Ints:
    """Ascending rows of some classes and domains, indices into the table's own words."""
    used = np.isin(table.labels, classes)
    if table.domains is not None:
        used &= np.isin(table.domains, domains)
    return np.flatnonzero(used)


def _limited(table: ExampleTable, rows: Ints, limit: int | None, seed: int, part: str) -> Ints:
    """At most ``limit`` rows, in the proportions of the classes and at least one of each (of questions if it can)."""
    if limit is None or limit >= len(rows):
        return rows
    labels = table.labels[rows]
    counts = np.bincount(labels, minlength=len(table.class_names))
    present = int((counts > 0).sum())
    if limit < present and not table.asks:
        raise SynopticError(
            f"data.{part}_limit={limit} cannot hold one example of each of {present} classes", "raise the limit"
        )
    quota = np.zeros_like(counts)
    quota[counts > 0] = apportion(counts[counts > 0], limit, least=int(limit >= present))
    return rows[rank_within(labels, numpy_generator(seed, "limit", part)) < quota[labels]]


def _require_examples(table: ExampleTable, rows: Ints, classes: Ints, part: str) -> None:
    if table.asks and len(rows):
        return  # a rare answer may well be missing from one part, which keeps nobody from asking
    counts = np.bincount(table.labels[rows], minlength=len(table.class_names))
    missing = [table.class_names[i] for i in classes if counts[i] == 0]
    if missing:
        shown = ", ".join(repr(name) for name in missing[:5]) + (", ..." if len(missing) > 5 else "")
        verb = "class has" if len(missing) == 1 else "classes have"
        raise SynopticError(f"{len(missing)} {verb} no {part} example ({shown})", "add some, or restrict data.classes")
