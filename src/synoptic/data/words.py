"""What is asked about pictures and what is said: the words of a question-answering table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from synoptic.core.errors import SynopticError
from synoptic.core.files import digest
from synoptic.data.gold import Gold

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Words:
    """A question and its answer for each of n pictures.

    Attributes:
        questions: what is asked, n texts.
        answers: what is said, n texts.
        rejected: n worse answers, which make the rows preference records; None without them.
        gold: the truth behind generated preferences, for measuring only; None where it is not known.

    """

    questions: tuple[str, ...]
    answers: tuple[str, ...]
    rejected: tuple[str, ...] | None = None
    gold: Gold | None = None

    def __post_init__(self) -> None:
        sizes = {len(texts) for texts in (self.questions, self.answers, self.rejected) if texts is not None}
        if len(sizes) > 1:
            counts = f"{len(self.questions)} questions, {len(self.answers)} answers"
            more = "" if self.rejected is None else f" and {len(self.rejected)} rejected ones"
            raise SynopticError(f"there are {counts}{more}", "give one of each per row")
        if self.gold is not None and len(self.gold) != len(self):
            raise SynopticError(f"the truth is known of {len(self.gold)} rows, and there are {len(self)} questions",
                                "give it for every row, or leave it out")  # fmt: skip

    def __len__(self) -> int:
        return len(self.questions)

    def take(self, positions: Iterable[int] | Ints) -> Words:
        """The words at ``positions``, in that order."""
        rows = [int(p) for p in positions]
        rejected = None if self.rejected is None else tuple(self.rejected[p] for p in rows)
        gold = None if self.gold is None else self.gold.take(np.array(rows, dtype=np.int64))
        return Words(tuple(self.questions[p] for p in rows), tuple(self.answers[p] for p in rows), rejected, gold)

    @classmethod
    def joined(cls, parts: Sequence[Words]) -> Words:
        """The words of all parts, one part after the other; rejected answers and the truth if every part has them."""
        rejected = [part.rejected for part in parts if part.rejected is not None]
        gold = [part.gold for part in parts if part.gold is not None]
        return cls(
            tuple(chain.from_iterable(part.questions for part in parts)),
            tuple(chain.from_iterable(part.answers for part in parts)),
            tuple(chain.from_iterable(rejected)) if len(rejected) == len(parts) else None,
            Gold.joined(gold) if gold and len(gold) == len(parts) else None,
        )

    @cached_property
    def fingerprint(self) -> str:
        """Identity of all texts, of which are rejected, and of the truth if it is known, 16 hex digits."""
        truth = [] if self.gold is None else [self.gold.fingerprint]
        return digest(json.dumps([self.questions, self.answers, self.rejected]), *truth)
