"""A policy on the server, judged by clients: what MoR and its relatives share.

Stage A: clients learn reward models from their own pairs of answers. Stage C: the server draws answers to questions of
its own, clients score them, and the server makes a step of GRPO. How several scores become one reward is a method's
own affair; it says how much each client counts for each question (`Aligning.weigh`).

Legend: K clients, N questions, G answers to each.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.algebra import mean
from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import expand, leaves
from synoptic.core import SynopticError
from synoptic.core.seeds import generator, numpy_generator
from synoptic.data.parcel import pack
from synoptic.federation.message import Each, Field, add_work
from synoptic.federation.server import SERVER, RoundFailed
from synoptic.learning.answer_policy import MEASURES, Judged, Stepped, step
from synoptic.learning.answering import AnswerLoss
from synoptic.learning.batches import plan
from synoptic.learning.descent import descend
from synoptic.learning.fit import Loss
from synoptic.learning.fusion import coded_size, decoded, fused
from synoptic.learning.judges import JudgeSpec
from synoptic.learning.objectives.preference import CLIP
from synoptic.learning.optim import no_moments
from synoptic.learning.routing import renormalised
from synoptic.learning.spec import TrainSpec
from synoptic.methods.base import Server
from synoptic.methods.judging import SHOWN, Judging

Ints = NDArray[np.int64]


EVERYWHERE = {"text": {"lora": {"rank": 8, "layers": "all", "targets": ["q", "k", "v", "o", "fc1", "fc2"]}}}
"""What the policy adapts: to say things in new ways takes more than to look elsewhere."""


class Pooled:
    """Whether one reward model sees everybody's pairs: a matter of settings, so never of the class."""

    def __get__(self, method: Aligning | None, kind: type[Aligning]) -> bool:
        return method is not None and bool(method.settings.rewards == "pooled")


class Aligning(Judging):
    """Stages A and C."""

    defaults: ClassVar[dict[str, Any]] = {
        "model": "tiny-describer", "data.source": "questions", "data.questions.tastes.conflict": 90.0,
        "data.questions.common": 0.0, "data.questions.train": 600, "data.questions.public": 800,
        "rounds": 13, "train.epochs": 2, "train.lr": 3e-3, "evaluate.every": 5,
    }  # fmt: skip

    answerer_only = True
    answerer_adapter = AdapterSpec.model_validate(EVERYWHERE)

    pools_data = Pooled()

    # -- the server -------------------------------------------------------------------------------------------------

    def begin(self, server: Server) -> None:
        """The reference: the base, or what it is when it has imitated the server's own answers."""
        s, bench = self.settings, server.bench
        start, rows = server.new_adapter(), bench.pool_rows
        if s.demonstrate is not None:
            start = imitated(server, start, AnswerLoss(rows.model, rows), len(rows.table), s.demonstrate)
            if any(kind.negatives for kind in s.kinds):
                server.state.prepared = torch.zeros(server.clients, dtype=torch.uint8)
        server.state.adapter = server.state.reference = start
        server.state.moments, server.state.drawn = no_moments(), 0
        if s.rewards == "average":
            server.state.judge = bench.judges.new_adapter(self._only_kind())

    def round(self, server: Server, t: int) -> None:
        """Reward models first; then everybody calibrates and is shown the questions; then the policy learns."""
        if t < self.settings.reward_rounds:
            return self.learn_rewards(server)
        if "there" in server.state:
            self.admit(server)
        else:
            self.introduce(server)
        return self.align(server)

    def learn_rewards(self, server: Server) -> None:
        """Stage A: nothing is sent but how it went, unless reward models are averaged."""
        averaged = self.settings.rewards == "average"
        asked = self.prepared(server, [client for client in server.sampled if client in self.present(server)])
        replies = server.ask("learn", to=asked, **({"judge": server.state.judge} if averaged else {}))
        self.missed(server, sorted({*server.sampled} - {*replies.clients}))
        if averaged:
            server.state.judge = mean(replies.judge, replies.examples)
        server.log["loss"] = float((replies.loss * replies.examples).sum() / replies.examples.sum())

    def prepared(self, server: Server, clients: Sequence[int]) -> Sequence[int]:
        """Those who have what they draw worse answers with; whoever has not been sent the policy for it is, once.

        Where the policy is the base, or nobody draws any, nothing is sent: ``state.prepared [K]`` is not there.
        """
        done: Tensor | None = server.state.get("prepared")
        if done is None:
            return clients
        new = [client for client in clients if not done[client] > 0]
        if new:
            replies = server.ask("prepare", to=new, fewest=0 if done.any() else None, policy=server.state.reference)
            done = done.index_fill(0, torch.tensor(replies.clients, dtype=torch.long), 1)
            server.state.prepared = done
        return [client for client in clients if done[client] > 0]

    def introduce(self, server: Server) -> None:
        """Everybody calibrates, and keeps the server's questions; ``state.there`` says who is ready to be asked."""
        there = torch.zeros(server.clients)
        sent = {"judge": server.state.judge} if self.settings.rewards == "average" else {}
        replies = server.ask("calibrate", to=self.present(server), **sent)
        server.log["held_out"] = float((replies.accuracy * replies.pairs).sum() / replies.pairs.sum())
        accuracy = torch.zeros(server.clients)
        accuracy[replies.clients] = replies.accuracy.float()
        if self.settings.rewards != "average":
            asked = [client for client in replies.clients if client in self.wanted(server)]
            replies = server.ask("meet", to=asked, fewest=1, **shown(server))
        there[replies.clients] = 1.0
        server.state.accuracy, server.state.there = accuracy, there

    def wanted(self, server: Server) -> Sequence[int]:
        """Who may be asked for scores at all."""
        return range(server.clients)

    def present(self, server: Server) -> Sequence[int]:
        """Who has come by now."""
        return range(server.clients)

    def missed(self, server: Server, clients: Sequence[int]) -> None:
        """These clients did not learn in this round; a method that takes in latecomers notes it."""

    def admit(self, server: Server) -> None:
        """Try those who were not there when everybody was introduced; a method that takes in latecomers says how."""

    def trust(self, server: Server) -> Tensor:
        """What weights are multiplied by ``[K]``: zero for whoever is not there."""
        there: Tensor = server.state.there
        return there

    def weigh(self, server: Server, positions: Ints) -> Tensor:
        """How much each client counts for each of the server's questions: ``[N, K]``, rows that sum to at most one."""
        raise NotImplementedError(f"{type(self).__name__} must say how much each client counts")

    def stepped(self, server: Server, chosen: Ints, place: int, gone: set[int]) -> Stepped:
        """One step of GRPO, the ``place``-th of this round, on the server's questions ``chosen [N]``."""
        state, rows = server.state, server.bench.pool_rows
        stream = generator(server.bench.seed, "policy", server.round, place)
        reference = leaves(expand(state.reference, 1))
        return step(rows.model, state.adapter, rows, chosen,
                    lambda positions, texts: self._judged(server, positions, texts, gone),
                    self.settings.policy, state.moments, stream, reference=reference)  # fmt: skip

    def align(self, server: Server) -> None:
        """Stage C: some steps of GRPO. A step that nobody scores is left out; a round without any has failed."""
        s, state, bench = self.settings, server.state, server.bench
        gone: set[int] = set()
        found, failed = [], None
        for place in range(s.steps):
            chosen = drawn(len(bench.pool_rows.table), state.drawn, s.prompts, bench.seed)
            state.drawn += len(chosen)
            try:
                stepped = self.stepped(server, chosen, place, gone)
            except RoundFailed as error:
                failed = error
                continue
            state.adapter, state.moments = stepped.adapter, stepped.moments
            found.append(stepped.measures)
            add_work(server.work, {"server_steps": float(stepped.steps),
                                   "server_examples": float(s.policy.updates * len(chosen))})  # fmt: skip
        if failed is not None and not found:
            raise failed
        server.log |= {name: float(np.mean([one[name] for one in found])) for name in (*MEASURES, "grad_norm")}
        server.log["skipped"] = float(s.steps - len(found))

    def _judged(
        self, server: Server, positions: Ints, texts: list[list[str]], gone: set[int], whose: Ints | None = None
    ) -> Judged:
        """Ask those who count for at least one question; whoever does not answer is not asked again in this round.

        With ``whose [N]`` only that client counts for a question; -1 is nobody in particular.
        """
        s = self.settings
        if s.rewards == "average":
            judge, spec = leaves(expand(server.state.judge, 1)), self._only_kind()
            return Judged(server.bench.judges.scores(spec, judge, server.bench.pool_rows.table, positions, texts)[0])
        here = self.trust(server).clone()
        here[list(gone)] = 0.0
        weighed_NK = self.weigh(server, positions)
        if whose is not None:
            own_NK = F.one_hot(torch.from_numpy(whose) + 1, server.clients + 1)[:, 1:].to(weighed_NK)
            weighed_NK = torch.where(torch.from_numpy(whose >= 0)[:, None], own_NK, weighed_NK)
        weights_NK = renormalised(weighed_NK, here)
        asked = [client for client in range(server.clients) if bool((weights_NK[:, client] > 0).any())]
        scores_KNG, answered = self.asked(server, positions, texts, {
            client: np.flatnonzero(weights_NK[:, client].numpy() > 0) for client in asked
        })  # fmt: skip
        gone |= set(asked) - set(answered)
        there = torch.zeros(server.clients)
        there[answered] = 1.0
        return fused(scores_KNG, renormalised(weights_NK, there), s.fuse, s.doubt)

    def asked(
        self, server: Server, positions: Ints, texts: list[list[str]], which: dict[int, Ints]
    ) -> tuple[Tensor, list[int]]:
        """Scores ``[K, N, G]`` of the questions that each client is asked about, zero elsewhere, and who answered."""
        if not which:
            raise RoundFailed(f"nobody is left to score answers in round {server.round}", "wait for clients to return")
        group, bits = len(texts[0]), self.settings.bits
        rows = Each([torch.from_numpy(positions[own]).int() for own in which.values()])
        said = Each([json.dumps([texts[place] for place in own]) for own in which.values()])
        replies = server.ask("score", to=list(which), fewest=1, rows=rows, texts=said)
        sizes = {client: len(own) * group for client, own in which.items()}
        replies = server.refuse(replies, "score", lambda client, told: _odd(told, sizes[client], bits), fewest=1)
        scores_KNG = torch.zeros(server.clients, len(positions), group)
        for place, client in enumerate(replies.clients):
            told = replies.of(place)["scores"]
            assert isinstance(told, Tensor)
            told = told if bits is None else decoded(told, bits, sizes[client])
            scores_KNG[client, torch.from_numpy(which[client])] = told.float().view(-1, group)
        return scores_KNG, replies.clients

    def _only_kind(self) -> JudgeSpec:
        kinds: tuple[JudgeSpec, ...] = self.settings.kinds
        if len(kinds) > 1 or kinds[0].script is not None:
            raise SynopticError("reward models of different kinds cannot be averaged, and neither can functions",
                                "set method.rewards=own, or give one kind in method.judges")  # fmt: skip
        return kinds[0]


def shown(server: Server) -> dict[str, Tensor]:
    """The server's questions and pictures, as `synoptic.methods.judging.Judging.meet` takes them."""
    parcel = pack(server.bench.pool_rows.table)
    return {name: torch.from_numpy(getattr(parcel, name)) for name in SHOWN}


def imitated(server: Server, start: TensorDict, loss: Loss, rows: int, how: TrainSpec) -> TensorDict:
    """The policy after supervised learning from the server's own answers; the rate's schedule is over epochs."""
    moments, each = no_moments(), how.model_copy(update={"epochs": 1})
    for epoch in range(how.epochs):
        steps = plan(np.arange(rows), each, server.bench.seed, epoch, SERVER)
        done = descend(start, moments, steps, loss, how, how.rate(epoch, how.epochs))
        start, moments = done.adapter, done.moments
        seen = sum(len(some) for some in steps)
        add_work(server.work, {"server_steps": float(len(steps)), "server_examples": float(seen)})
    return start


def drawn(rows: int, begin: int, count: int, seed: int) -> Ints:
    """The questions from ``begin`` on: pass after pass over all rows, each in an order of its own."""
    places = np.arange(begin, begin + count)
    orders = {turn: numpy_generator(seed, "questions", turn).permutation(rows) for turn in np.unique(places // rows)}
    return np.array([orders[place // rows][place % rows] for place in places], dtype=np.int64)


def _odd(told: dict[str, Field], count: int, bits: int | None) -> str | None:
    """What is wrong with a client's scores that the general checks cannot know."""
    scores, size = told.get("scores"), count if bits is None else coded_size(count, bits)
    if not isinstance(scores, Tensor) or scores.numel() != size:
        got = scores.numel() if isinstance(scores, Tensor) else "no"
        return f"{got} scores where {count} answers were to be judged"
    if bits is None and float(scores.abs().max()) > CLIP:
        # A single such score would outweigh everybody's, and a large one leaves no number at all.
        return f"a score of {float(scores.abs().max()):.3g}, and normalised ones end at {CLIP:g}"
    return None
