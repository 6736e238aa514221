"""FedGRPO (arXiv 2602.12014), as reconstructed: clients that are right about what lies near a question are its experts.

For each question the server looks at the labelled examples that lie nearest to it. Clients whose reward models prefer
the right one of two answers to these are competent, and the best of them judge. Equation 9 of the paper normalises
scores across experts, which leaves no gradient (`synoptic.learning.fusion.across_experts`); here each expert's scores
are normalised across a question's answers, and so is their mixture. docs/methods/fedgrpo.md lists what else is ours.

Legend: K clients, N questions, A auxiliary examples, L nearest ones, d features of an input.
"""

from __future__ import annotations

import json

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from synoptic.core import SynopticError
from synoptic.core.seeds import numpy_generator
from synoptic.data.table import ExampleTable
from synoptic.federation.message import Field as Message
from synoptic.learning.inputs import input_embeddings
from synoptic.methods.aligning import Aligning
from synoptic.methods.base import Cohort, Replies, Server, task
from synoptic.methods.mor_settings import Alignment, Fusion

Ints = NDArray[np.int64]


class FedGRPO(Aligning):
    """Competence on the nearest auxiliary examples says who judges."""

    class Settings(Alignment):
        """Auxiliary examples and experts."""

        auxiliary: int = Field(100, ge=1, description="labelled examples of the server's")
        nearest: int = Field(20, ge=1, description="of these, how many near a question decide who is competent (L)")
        top: int = Field(2, ge=1, description="experts that judge a question (M)")
        fuse: Fusion = Field(
            "candidates",
            description="how experts' scores become one; candidates: standardised over answers, one by one, then mixed",
        )

        @model_validator(mode="after")
        def _near_are_some_of_all(self) -> FedGRPO.Settings:
            if self.nearest > self.auxiliary:
                raise ValueError(f"nearest={self.nearest} of auxiliary={self.auxiliary} examples: ask for fewer")
            return self

    summary = "the server's policy judged by the clients that are competent nearby (FedGRPO, 2026)"

    def begin(self, server: Server) -> None:
        """Refuse what cannot be done before anything is trained."""
        s, held = self.settings, len(server.bench.pool_rows.table)
        if s.auxiliary > held:
            raise SynopticError(f"method.auxiliary={s.auxiliary}, and the server holds {held} questions",
                                "set fewer, or more data.questions.public")  # fmt: skip
        if s.rewards == "own" and s.top > server.clients:
            raise SynopticError(f"method.top={s.top} experts, and there are {server.clients} clients", "set fewer")
        super().begin(server)

    def introduce(self, server: Server) -> None:
        """Calibrate, show the questions, and find out once who is right about which auxiliary example."""
        super().introduce(server)
        if self.settings.rewards == "average":
            return
        rows, count = server.bench.pool_rows, self.settings.auxiliary
        own, pairs = auxiliary(rows.table, count, server.bench.seed)
        ready = [client for client in range(server.clients) if server.state.there[client] > 0]
        replies = server.ask("examine", to=ready, fewest=1, rows=torch.from_numpy(own).int(), texts=json.dumps(pairs))
        replies = server.refuse(replies, "examine", lambda client, told: _odd(told, count), fewest=1)
        right_KA = torch.zeros(server.clients, count)
        right_KA[replies.clients] = replies.right.float()
        server.state.right, server.state.known = right_KA, input_embeddings(rows.model, rows, own)
        server.state.there = torch.zeros(server.clients).index_fill(0, torch.tensor(replies.clients), 1.0)

    @task
    def examine(self, cohort: Cohort, rows: Tensor, texts: str) -> Replies:
        """Does the own reward model prefer the first of two answers? Only that is told, and no score."""
        same = len(cohort)
        told = self.raw_scores(cohort, [rows] * same, [texts] * same)
        found = {place: (raw[:, 0] > raw[:, 1]).to(torch.uint8) for place, _, _, raw in told}
        return cohort.reply(right=torch.stack([found[place] for place in range(len(cohort))]))

    def weigh(self, server: Server, positions: Ints) -> Tensor:
        """Shares of the ``top`` most competent clients, in proportion to their competence: ``[N, K]``."""
        s, state, rows = self.settings, server.state, server.bench.pool_rows
        inputs_Nd = input_embeddings(rows.model, rows, positions)
        competence_NK = competence(inputs_Nd, state.known, state.right, s.nearest) * state.there
        shares_NK = experts(competence_NK, s.top)
        server.log["competence"] = float((shares_NK * competence_NK).sum(1).mean())
        return shares_NK


def competence(inputs_Nd: Tensor, known_Ad: Tensor, right_KA: Tensor, nearest: int) -> Tensor:
    """Share of the ``nearest`` auxiliary examples by cosine that each client is right about ``[N, K]``, float64.

    Args:
        inputs_Nd: embeddings of questions.
        known_Ad: of auxiliary examples.
        right_KA: one where a client is right about an example, else zero.
        nearest: how many of them are looked at (L).
    """
    cosine_NA = F.normalize(inputs_Nd.double(), dim=1) @ F.normalize(known_Ad.double(), dim=1).T
    near_NL = cosine_NA.argsort(dim=1, descending=True, stable=True)[:, :nearest]
    return right_KA.double()[:, near_NL].mean(-1).T


def experts(competence_NK: Tensor, top: int) -> Tensor:
    """Shares ``[N, K]`` of the ``top`` most competent, in proportion to their competence, and zero for all others.

    Of equally competent clients those with lower numbers are taken. A row is zero where nobody is right about anything.
    """
    best_NM = competence_NK.argsort(dim=1, descending=True, stable=True)[:, :top]
    chosen = torch.zeros_like(competence_NK).scatter(1, best_NM, competence_NK.gather(1, best_NM))
    total = chosen.sum(1, keepdim=True)
    return chosen / torch.where(total > 0, total, 1.0)


def _odd(told: dict[str, Message], count: int) -> str | None:
    """What is wrong with a client's answers that the general checks cannot know."""
    right = told.get("right")
    if not isinstance(right, Tensor) or right.dtype != torch.uint8 or right.shape != (count,) or int(right.max()) > 1:
        return f"it did not say yes or no to each of {count} auxiliary examples"
    return None


def auxiliary(table: ExampleTable, count: int, seed: int) -> tuple[Ints, list[list[str]]]:
    """Rows ``[A]`` whose right answer the server uses, and each one's (right, wrong) answers.

    A row's wrong answer is its rejected one; where there are none, the answer to another of these rows.

    Raises:
        SynopticError: there is no rejected answer, and all rows have the same right one.
    """
    words = table.words
    assert words is not None
    order = numpy_generator(seed, "auxiliary").permutation(len(table))[:count]
    right = [words.answers[row] for row in order]
    if words.rejected is not None:
        return order, [[one, words.rejected[row]] for one, row in zip(right, order, strict=True)]
    if len(set(right)) < 2:
        raise SynopticError(f"all {count} auxiliary examples of {table.name} have the same answer, so none is wrong",
                            "set a higher method.auxiliary, or give the server other questions")  # fmt: skip
    pairs = []
    for place, one in enumerate(right):
        others = (*right[place + 1 :], *right[:place])
        pairs.append([one, next(other for other in others if other != one)])
    return order, pairs
