"""Wrong answers for tables that have right ones only, so that reward models can learn from them.

A row is given the answer to another row of the same question. Where that question has no other answer, it is one to a
question of the same kind; kinds are what ``data.label`` names, else questions that have an answer in common.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from itertools import accumulate, chain

import numpy as np

from synoptic.core.errors import SynopticError
from synoptic.core.seeds import numpy_generator
from synoptic.data.spec import DataSpec
from synoptic.data.table import ExampleTable
from synoptic.data.words import Words


def contradicted(
    train: ExampleTable, test: ExampleTable, pool: ExampleTable | None, spec: DataSpec, seed: int
) -> tuple[ExampleTable, ExampleTable, ExampleTable | None]:
    """The same tables with a wrong answer to every row, drawn by the seed from what training rows say.

    Raises:
        SynopticError: all training rows have the same answer.
    """
    said = Said(train, labelled=spec.label is not None)

    def told(table: ExampleTable, part: str) -> ExampleTable:
        rejected = said.wrong(table, numpy_generator(seed, "wrong answers", part))
        return replace(table, words=replace(_words(table), rejected=rejected))

    return told(train, "train"), told(test, "test"), None if pool is None else told(pool, "public")


class Answers:
    """Answers and how often each is given, to draw others than a right one from."""

    def __init__(self, given: Iterable[str]) -> None:
        counts: dict[str, int] = defaultdict(int)
        self._texts: dict[str, str] = {}
        for text in given:
            counts[plain(text)] += 1
            self._texts.setdefault(plain(text), text)
        self._place = {key: place for place, key in enumerate(counts)}
        self._keys, self._ends = list(counts), [0, *accumulate(counts.values())]

    def __len__(self) -> int:
        return len(self._keys)

    def other(self, than: str, chance: float) -> str | None:
        """One that differs from ``than``, each as likely as it is often given; ``chance`` in [0, 1) decides.

        None where there is no other.
        """
        place = self._place.get(plain(than))
        begin, end = (0, 0) if place is None else self._ends[place : place + 2]
        others = self._ends[-1] - (end - begin)
        if not others:
            return None
        drawn = int(chance * others)
        drawn += end - begin if drawn >= begin else 0
        return self._texts[self._keys[bisect_right(self._ends, drawn) - 1]]


class Said:
    """What the rows of a table answer to which questions.

    Args:
        table: whose answers wrong ones are drawn from.
        labelled: whether its labels are kinds of questions.

    Raises:
        SynopticError: all its rows have the same answer.
    """

    def __init__(self, table: ExampleTable, labelled: bool) -> None:
        words = _words(table)
        self._labelled = labelled
        asked, of_kind = defaultdict(list), defaultdict(list)
        for row, (question, answer) in enumerate(zip(words.questions, words.answers, strict=True)):
            asked[plain(question)].append(answer)
            of_kind[_kind(table, row)].append(answer)
        self._asked = {question: Answers(given) for question, given in asked.items()}
        self._of_kind = {kind: Answers(given) for kind, given in of_kind.items()}
        self._any = Answers(words.answers)
        if len(self._any) < 2:
            raise SynopticError(f"all rows of {table.name} have the same answer, so there is no wrong one",
                                "leave data.wrong out")  # fmt: skip
        self._alike_to: dict[str, Answers] = {}
        self._sharing: dict[str, list[list[str]]] = defaultdict(list)
        for given in asked.values():
            for answer in {plain(answer) for answer in given}:
                self._sharing[answer].append(given)

    def wrong(self, table: ExampleTable, rng: np.random.Generator) -> tuple[str, ...]:
        """A wrong answer to each row of a table."""
        words = _words(table)
        rows = zip(range(len(table)), words.questions, words.answers, rng.random(len(table)), strict=True)
        return tuple(self._other(table, *row) for row in rows)

    def _other(self, table: ExampleTable, row: int, question: str, right: str, chance: float) -> str:
        asked = self._asked.get(plain(question))
        found = asked.other(right, chance) if asked is not None else None
        if found is None:
            alike = self._of_kind.get(_kind(table, row)) if self._labelled else self._alike(plain(right))
            found = alike.other(right, chance) if alike is not None else None
        found = self._any.other(right, chance) if found is None else found
        assert found is not None, "there are two answers, so one of them is another one"
        return found

    def _alike(self, right: str) -> Answers:
        """Answers to the questions that are also answered so."""
        if right not in self._alike_to:
            self._alike_to[right] = Answers(chain.from_iterable(self._sharing.get(right, ())))
        return self._alike_to[right]


def plain(text: str) -> str:
    """The form in which answers that differ only in space or case are one."""
    return " ".join(text.split()).casefold()


def _kind(table: ExampleTable, row: int) -> str:
    return table.class_names[int(table.labels[row])]


def _words(table: ExampleTable) -> Words:
    assert table.words is not None, "a table without questions"
    return table.words
