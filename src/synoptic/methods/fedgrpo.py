"""FedGRPO (arXiv 2602.12014), as reconstructed: clients that answer what lies near a question are its experts.

For each question the server looks at the labelled examples that lie nearest to it; clients whose reward models find the
right one of two answers to these are competent, and the best of them judge. Equation 9 of the paper normalises scores
across experts, which leaves no gradient (`synoptic.learning.fusion.across_experts`); scores are normalised across a
question's answers instead. docs/methods/fedgrpo.md lists what else is ours.

Legend: K clients, N questions, M auxiliary examples.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from synoptic.core.seeds import numpy_generator
from synoptic.learning.inputs import input_embeddings
from synoptic.methods.aligning import Aligning
from synoptic.methods.base import Server
from synoptic.methods.mor_settings import Alignment, Fusion

Ints = NDArray[np.int64]


class FedGRPO(Aligning):
    """Competence on the nearest auxiliary examples says who judges."""

    class Settings(Alignment):
        """Auxiliary examples and experts."""

        auxiliary: int = Field(100, ge=1, description="labelled examples of the server's")
        nearest: int = Field(20, ge=1, description="of these, how many near a question decide who is competent (L)")
        top: int = Field(2, ge=1, description="experts that judge a question (M)")
        fuse: Fusion = Field("advantages", description="how experts' scores become one; advantages: per candidate")

    summary = "the server's policy judged by the clients that are competent nearby (FedGRPO, 2026)"
    defaults: ClassVar[dict[str, Any]] = Aligning.defaults

    def introduce(self, server: Server) -> None:
        """Calibrate, show the questions, and find out once who is right about which auxiliary example."""
        super().introduce(server)
        if self.settings.rewards == "average":
            return
        rows, pairs = auxiliary(server, self.settings.auxiliary)
        everybody = {client: np.arange(len(rows)) for client in range(server.clients) if server.state.there[client] > 0}
        scores_KM2, answered = self.asked(server, rows, pairs, everybody)
        right = (scores_KM2[..., 0] > scores_KM2[..., 1]).float()
        server.state.right = right
        server.state.there = torch.zeros(server.clients).index_fill(0, torch.tensor(answered), 1.0)

    def weigh(self, server: Server, positions: Ints) -> Tensor:
        """Shares of the ``top`` most competent clients, in proportion to their competence: ``[N, K]``."""
        s, rows = self.settings, server.bench.pool_rows
        own, _ = auxiliary(server, s.auxiliary)
        asked, known = (F.normalize(input_embeddings(rows.model, rows, some), dim=1) for some in (positions, own))
        near_NL = (asked @ known.T).topk(min(s.nearest, len(own)), dim=1).indices
        competence_NK = server.state.right[:, near_NL].mean(-1).T.double() * server.state.there
        best = competence_NK.topk(min(s.top, server.clients), dim=1)
        weights = torch.zeros_like(competence_NK).scatter(1, best.indices, best.values)
        return weights / weights.sum(1, keepdim=True).clamp(min=1e-12)


def auxiliary(server: Server, count: int) -> tuple[Ints, list[list[str]]]:
    """Rows of the server's whose right answer it uses, each with that of another row, which is wrong here."""
    table = server.bench.pool_rows.table
    assert table.words is not None
    order = numpy_generator(server.bench.seed, "auxiliary").permutation(len(table))[:count]
    answers = [table.words.answers[row] for row in order]
    pairs = []
    for place, answer in enumerate(answers):
        others = (one for one in (*answers[place + 1 :], *answers[:place]) if one != answer)
        pairs.append([answer, next(others, "")])
    return order, pairs
