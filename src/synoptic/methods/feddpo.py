"""Federated DPO: FedAvg of adapters that clients train directly on their pairs of answers.

Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290, eq. 7) needs neither a reward model nor answers
of the policy's own: preferred answers are made likelier than rejected ones, both as compared with a reference, which is
the policy that everybody starts from. A client is shown it once and keeps what it says to the client's pairs. To be
compared with `synoptic.methods.mor.MoR`, the policy may first imitate the server's own answers, as it does there.

Legend: K clients, B pairs of each, N = K * B pairs (client-major), n pairs of one client.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.stack import expand, leaves
from synoptic.core import SynopticError
from synoptic.federation.message import add_work
from synoptic.learning.answer_rows import AnswerRows, Said, Tensors
from synoptic.learning.answering import AnswerLoss, scores
from synoptic.learning.batches import Batch
from synoptic.learning.objectives.preference import direct_preference
from synoptic.learning.problem import Answering
from synoptic.methods.aligning import Aligning, imitated
from synoptic.methods.base import Cohort, Replies, Server, task
from synoptic.methods.fedavg import MEANS, FedAvg
from synoptic.methods.held_out import Pairs
from synoptic.methods.mor_settings import Demonstrations

REFERENCE = "reference"
"""What a client keeps: log-probabilities ``[n, 2]`` of its preferred and rejected answers under the start."""

SAID: tuple[Said, Said] = ("answer", "rejected")
AT_ONCE = 128


class FedDPO(FedAvg):
    """One policy for everybody, averaged after local steps on pairs."""

    class Settings(FedAvg.Settings):
        """As FedAvg, and what DPO needs."""

        beta: float = Field(0.1, gt=0, description="weight of the divergence from the start")
        ties: Literal["refuse", "drop"] = Field("refuse", description="pairs whose two answers are the same")
        demonstrate: Demonstrations | None = Field(
            None, description="how the policy first imitates the server's own answers; none: not"
        )

    summary = "FedAvg of policies trained directly on pairs of answers (DPO, Rafailov et al. 2023)"
    answerer_only = True
    answerer_adapter = Aligning.answerer_adapter
    defaults: ClassVar[dict[str, Any]] = {**Aligning.defaults, "rounds": 10, "train.epochs": 1, "train.lr": 1e-3}

    def begin(self, server: Server) -> None:
        """The start, which is the reference too."""
        how, start = self.settings.demonstrate, server.new_adapter()
        if how is not None:
            rows = server.bench.pool_rows
            start = imitated(server, start, AnswerLoss(rows.model, rows), len(rows.table), how)
        server.state.adapter = server.state.reference = start
        server.state.met = torch.zeros(server.clients)

    def round(self, server: Server, t: int) -> None:
        """Whoever takes part for the first time is shown the reference; then broadcast, train, average."""
        state = server.state
        new = [client for client in server.sampled if not state.met[client]]
        with server.as_one():
            if new:
                told = server.ask("meet", to=new, reference=state.reference)
                state.met = state.met.index_fill(0, torch.tensor(told.clients, dtype=torch.long), 1.0)
            replies = server.ask("train", adapter=state.adapter)
        state.adapter = MEANS[self.settings.mean](replies.adapter, replies.examples)
        server.log["loss"] = float((replies.loss * replies.examples).sum() / replies.examples.sum())

    @task
    def meet(self, cohort: Cohort, reference: TensorDict) -> Replies:
        """Keep what the reference says to the own pairs: it never changes, so no client computes it twice."""
        worn, rows = leaves(expand(reference, 1)), rows_of(cohort)
        for place, own in enumerate(Pairs(cohort, 0, self.settings.ties).positions):
            with torch.no_grad():
                parts = [pair_totals(rows, worn, own[i : i + AT_ONCE]) for i in range(0, len(own), AT_ONCE)]
            cohort.personal.entries[place][REFERENCE] = torch.cat(parts).cpu()
        return cohort.reply(met=torch.ones(len(cohort), dtype=torch.uint8))

    @task
    def train(self, cohort: Cohort, adapter: TensorDict) -> Replies:
        """Local steps on pairs, from the shared policy."""
        own, rows = Pairs(cohort, 0, self.settings.ties), rows_of(cohort)
        reference = torch.full((len(rows.table), 2), torch.nan)
        for place, positions in enumerate(own.positions):
            reference[torch.from_numpy(positions)] = _kept(cohort, place, len(positions))
        fitted = own.fit(adapter, DirectLoss(rows, reference, self.settings.beta))
        add_work(cohort.work, own.work)
        return cohort.reply(adapter=fitted.stack, examples=own.examples, loss=fitted.loss)


class DirectLoss:
    """`synoptic.learning.fit.Loss` of a policy on pairs of answers, see `direct_preference`.

    Args:
        rows: the training table's rows.
        reference: log-probabilities of both answers under the reference, for every row of the table ``[rows, 2]``.
        beta: see `direct_preference`.
    """

    def __init__(self, rows: AnswerRows, reference: Tensor, beta: float) -> None:
        self._rows = rows
        self._reference = reference
        self._beta = beta

    def __call__(self, worn: Tensors, batch: Batch) -> Tensor:
        """Loss ``[K, B]``."""
        positions = batch.rows.ravel()
        ours = pair_totals(self._rows, worn, positions)
        theirs = self._reference[torch.from_numpy(positions)].to(ours.device)
        loss = direct_preference(ours[:, 0], ours[:, 1], theirs[:, 0], theirs[:, 1], self._beta)
        return loss.view(batch.rows.shape)


def pair_totals(rows: AnswerRows, worn: Tensors, positions: NDArray[np.int64]) -> Tensor:
    """Log-probabilities of whole answers, preferred and rejected, of client-major rows: ``[N, 2]``, with gradient."""
    both = (scores(rows.model, worn, rows, positions, said).total for said in SAID)
    return torch.stack(list(both), dim=1)


def rows_of(cohort: Cohort) -> AnswerRows:
    """The training rows as the generative model reads them."""
    problem = cohort.bench.problem
    assert isinstance(problem, Answering)
    return problem.train_rows


def _kept(cohort: Cohort, place: int, pairs: int) -> Tensor:
    kept = cohort.personal.entries[place].get(REFERENCE)
    if not isinstance(kept, Tensor) or len(kept) != pairs:
        raise SynopticError(f"client {cohort.clients[place]} does not know what the first policy says to its pairs",
                            "show it the first policy again, or start the run anew")  # fmt: skip
    return kept
