"""Whom to believe: questions whose right answer the server knows, put to everybody like any other.

Of two answers everybody must prefer the right one, whatever else it likes. A client that orders them no better than a
coin loses its weight: its trust is ``max(0, 2 a - 1)``, where a is the share of pairs that it has ordered rightly so
far. Legend: K clients, n pairs.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synoptic.core import SynopticError
from synoptic.core.seeds import numpy_generator
from synoptic.data.words import Words
from synoptic.learning.objectives.preference import pair_accuracy
from synoptic.methods.aligning import Aligning
from synoptic.methods.base import Server

Ints = NDArray[np.int64]


class Audited(Aligning):
    """Aligning with audits."""

    def begin(self, server: Server) -> None:
        """Nobody has been asked yet; refuse questions by which nobody can be told apart."""
        audit = self.settings.audit
        if audit is not None:
            words = server.bench.pool_rows.table.words
            assert words is not None
            pairs_of(words, np.arange(len(words)), audit.wrong)
            server.state.audit = torch.zeros(2, server.clients, dtype=torch.float64)
        super().begin(server)

    def align(self, server: Server) -> None:
        """First of all, whom to believe."""
        if self.settings.audit is not None:
            self.examine(server)
        super().align(server)

    def examine(self, server: Server) -> None:
        """Add this round's pairs to ``state.audit [2, K]``: how many each client has ordered rightly, of how many."""
        audit, words = self.settings.audit, server.bench.pool_rows.table.words
        assert words is not None
        order = numpy_generator(server.bench.seed, "audit", server.round).permutation(len(words))[: audit.pairs]
        there = [client for client in range(server.clients) if server.state.there[client] > 0]
        # Past a critic, which would answer for them.
        scores_Kn2, answered = Aligning.asked(self, server, order, pairs_of(words, order, audit.wrong),
                                              {client: np.arange(len(order)) for client in there})  # fmt: skip
        counted: Tensor = server.state.audit.clone()
        for client in answered:
            right = pair_accuracy(scores_Kn2[client, :, 0], scores_Kn2[client, :, 1]).double().sum()
            counted[:, client] += torch.stack([right, torch.full_like(right, len(order))])
        server.state.audit = counted
        trusted = trust(counted)[there]
        server.log |= {"trust": float(trusted.mean()), "least_trust": float(trusted.min())}

    def trust(self, server: Server) -> Tensor:
        """Nothing for whoever is not there, and what its audits say for everybody else."""
        there = super().trust(server)
        return there if self.settings.audit is None else there * trust(server.state.audit).to(there)


def trust(audit_2K: Tensor) -> Tensor:
    """``max(0, 2 right / all - 1)``, ``[K]``; 1 for whoever was never asked."""
    right, count = audit_2K
    return torch.where(count > 0, (2 * right / count.clamp(min=1) - 1).clamp(min=0), 1.0)


def pairs_of(words: Words, rows: Ints, wrong: str) -> list[list[str]]:
    """A right and a worse answer to each of the rows, n pairs.

    Args:
        words: questions with right answers.
        rows: which of them ``[n]``.
        wrong: ``stammered`` is the right one with every word said twice; ``other`` the next question's that has
            another one, which suits short answers that are right or wrong.

    Raises:
        SynopticError: all questions have the same answer, so that no other one is wrong.
    """
    if wrong == "stammered":
        return [[text, stammered(text)] for text in (words.answers[row] for row in rows)]
    if len(set(words.answers)) < 2:
        raise SynopticError(f"all {len(words)} questions of the server have the same answer, so none is wrong",
                            "set method.audit.wrong=stammered, or give the server other questions")  # fmt: skip
    return [[words.answers[row], _another(words, int(row))] for row in rows]


def stammered(text: str) -> str:
    """Every word said twice.

    >>> stammered("a red circle")
    'a a red red circle circle'
    """
    return " ".join(word for word in text.split() for _ in range(2))


def _another(words: Words, row: int) -> str:
    others = (words.answers[(row + step) % len(words)] for step in range(1, len(words)))
    return next(other for other in others if other != words.answers[row])
