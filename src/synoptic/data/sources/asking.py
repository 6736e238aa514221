"""Questions about pictures from frames: their tables, what a partition may skew, what is set aside for testing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from synoptic.core.errors import SynopticError
from synoptic.data.images import ImageStore, choose
from synoptic.data.sources.frame import Frame, coded, images_of
from synoptic.data.sources.source import Source, split_off
from synoptic.data.sources.spoken import spoken
from synoptic.data.spec import DataSpec
from synoptic.data.table import ExampleTable
from synoptic.data.task_images import TextPatterns
from synoptic.data.words import Words

Ints = NDArray[np.int64]

FEW: Final = 32
"""Distinct answers up to which every answer is a class of its own, for partitions that skew classes."""
HELD: Final = 0.1
"""Share of the pictures that is set aside for testing where there is no test part."""
_ONE_CLASS: Final = ("answer",)


@dataclass(frozen=True, eq=False)
class Part:
    """A frame with a row for every question: ``rows`` int64 [m] of the frame, and the m questions' words."""

    frame: Frame
    rows: Ints
    words: Words

    def values(self, name: str, option: str) -> NDArray[Any]:
        """A column's value for every question, [m]."""
        return np.asarray(self.frame.column(name, option).to_numpy())[self.rows]


def asking_source(name: str, train: Frame, test: Frame | None, spec: DataSpec) -> Source:
    """Tables of questions from frames; a list of questions becomes as many rows that share their picture.

    Without a test frame, or without the column of ``data.partition.column`` in it, a tenth of the training pictures is
    set aside, always the same: within each value of that column, else within each class and domain. A picture is never
    on both sides; rows of one ``data.group`` neither.

    Raises:
        SynopticError: for a column that is missing or holds something else, lists of different lengths, an empty text.

    """
    by = spec.partition.column
    has_test = test is not None and (by is None or by in test.table.column_names)
    parts = [Part(frame, *spoken(frame, spec)) for frame in (train, test if has_test else None) if frame is not None]
    tables = _tables(name, parts, spec)
    columns = [{} if by is None else {by: part.values(by, "data.partition.column")} for part in parts]
    together = None
    if spec.group is not None:
        together = np.unique(parts[0].values(spec.group, "data.group"), return_inverse=True)[1].astype(np.int64)
    whole = Source(tables[0], tables[-1], columns=columns[0], test_columns=columns[-1], together=together)
    return whole if has_test else _split(whole)


def pictures(table: ExampleTable) -> Ints:
    """Which rows show the same picture, int64 [n]: equal numbers for equal bytes."""
    return np.unique(table.signatures(np.arange(len(table))), return_inverse=True)[1].astype(np.int64)


def length_domains(lengths: Sequence[Ints], count: int, where: str) -> tuple[tuple[str, ...], list[Ints]]:
    """Domains of texts by length: equal parts of the first array, as far as equal lengths allow, shortest first.

    Args:
        lengths: words per text, int64 [n] each; the first array decides where the limits lie.
        count: how many domains.
        where: for the error.

    Raises:
        SynopticError: when the lengths are too much alike.

    """
    limits = np.unique(np.quantile(lengths[0], np.arange(1, count) / count, method="inverted_cdf").astype(np.int64))
    if len(limits) < count - 1 or limits[-1] >= lengths[0].max():
        raise SynopticError(
            f"the answers of {where} are too much alike in length for {count} domains", "lower data.answer_lengths"
        )
    low = [1, *(int(limit) + 1 for limit in limits)]
    names = [f"words-{first}-{last}" for first, last in zip(low, limits, strict=False)] + [f"words-{low[-1]}-up"]
    return tuple(names), [np.searchsorted(limits, part).astype(np.int64) for part in lengths]


def _tables(name: str, parts: list[Part], spec: DataSpec) -> list[ExampleTable]:
    class_names, labels = _classes(parts, spec)
    tables = [
        ExampleTable(f"{name}/{half}", _shown(part, spec), label, class_names, words=part.words)
        for half, part, label in zip(("train", "test"), parts, labels, strict=False)
    ]  # fmt: skip
    if spec.domain is None and spec.answer_lengths is None:
        return tables
    names, domains = _domains(parts, spec)
    return [replace(table, domains=own, domain_names=names) for table, own in zip(tables, domains, strict=True)]


def _shown(part: Part, spec: DataSpec) -> ImageStore:
    """The pictures that are asked about; where their column is that of the questions, there are texts alone."""
    if spec.image == spec.question:
        return TextPatterns(part.words.questions)
    return choose(images_of(part.frame, spec.image), part.rows)


def _classes(parts: list[Part], spec: DataSpec) -> tuple[tuple[str, ...], list[Ints]]:
    if spec.label is not None:
        return _coded(parts, spec.label, "data.label")
    known = sorted({answer for part in parts for answer in part.words.answers})
    if len(known) > FEW:
        return _ONE_CLASS, [np.zeros(len(part.words), dtype=np.int64) for part in parts]
    place = {answer: index for index, answer in enumerate(known)}
    return tuple(known), [np.array([place[said] for said in part.words.answers], dtype=np.int64) for part in parts]


def _domains(parts: list[Part], spec: DataSpec) -> tuple[tuple[str, ...], list[Ints]]:
    if spec.answer_lengths is None:
        return _coded(parts, spec.domain or "", "data.domain")
    lengths = [np.array([len(said.split()) for said in part.words.answers], dtype=np.int64) for part in parts]
    return length_domains(lengths, spec.answer_lengths, parts[0].frame.name)


def _coded(parts: list[Part], name: str, option: str) -> tuple[tuple[str, ...], list[Ints]]:
    words, codes = coded([part.frame for part in parts], name, option)
    return words, [code[part.rows] for code, part in zip(codes, parts, strict=True)]


def _split(whole: Source) -> Source:
    """Set a part of the training rows aside as the test part."""
    table = whole.train
    strata = table.labels if table.domains is None else table.labels * len(table.domain_names) + table.domains
    for values in whole.columns.values():
        strata = np.unique(values, return_inverse=True)[1].astype(np.int64)
    rows, held = split_off(strata, HELD, pictures(table) if whole.together is None else whole.together)
    return Source(
        table.take(rows),
        replace(table.take(held), name=table.name.removesuffix("train") + "test"),
        columns={name: values[rows] for name, values in whole.columns.items()},
        test_columns={name: values[held] for name, values in whole.columns.items()},
        together=None if whole.together is None else whole.together[rows],
    )
