"""Fewer questions to clients: the server predicts scores itself and asks only where it is unsure.

What it learns from the scores is, if it predicts them well, the reward model: a client that takes part must know that
(docs/methods/mor.md). Legend: K clients, N questions, G answers to each, M = N * G, F features.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synoptic.core.seeds import generator
from synoptic.federation.bench import Bench
from synoptic.federation.server import RoundFailed
from synoptic.learning.critic import Critic
from synoptic.learning.objectives.preference import CLIP
from synoptic.learning.reading import Reader, features_of, make_reader
from synoptic.methods.aligning import Aligning
from synoptic.methods.base import Server
from synoptic.methods.once import once

Ints = NDArray[np.int64]


class Economical(Aligning):
    """Aligning with a critic."""

    def begin(self, server: Server) -> None:
        """A critic that knows nothing."""
        super().begin(server)
        if self.settings.critic is not None:
            how = self.settings.critic
            width = min(features_of(server.bench.model, True), how.features) + 1
            server.state.critic = Critic.fresh(server.clients, width, how.prior).packed()
            server.state.queries = torch.zeros(2, dtype=torch.float64)

    def align(self, server: Server) -> None:
        """Say which share of the answers was asked about, in this round and so far."""
        before = server.state.get("queries")
        super().align(server)
        if self.settings.critic is not None:
            for name, (needed, sent) in {"asked": server.state.queries - before,
                                         "asked_so_far": server.state.queries}.items():  # fmt: skip
                server.log[name] = float(sent / needed) if needed else 1.0

    def asked(
        self, server: Server, positions: Ints, texts: list[list[str]], which: dict[int, Ints]
    ) -> tuple[Tensor, list[int]]:
        """Scores as they come, and predicted ones for what nobody was asked about."""
        how = self.settings.critic
        if how is None or not which:
            return super().asked(server, positions, texts, which)
        group, critic = len(texts[0]), Critic.unpacked(server.state.critic)
        phi_NGF = features(server.bench, positions, texts, how.features)
        unsure = {client: critic.unsure(client, phi_NGF[own].flatten(0, 1), how.threshold).view(-1, group)
                  for client, own in which.items()}  # fmt: skip
        counted = [sum(some.numel() for some in unsure.values()), sum(int(some.sum()) for some in unsure.values())]
        server.state.queries = server.state.queries + torch.tensor(counted, dtype=torch.float64)
        sent = {client: some for client, some in unsure.items() if bool(some.any())}
        scores_KNG = torch.zeros(server.clients, len(positions), group)
        answered = [client for client in which if client not in sent]
        if sent:
            try:
                scores_KNG, replied = self._fetched(server, positions, texts, which, sent)
            except RoundFailed:
                if not answered:
                    raise
                replied = []  # of the others all is known
            for client in replied:
                some, own = sent[client], torch.from_numpy(which[client])
                critic = critic.seen(client, phi_NGF[own][some], scores_KNG[client, own][some])
            answered = sorted([*answered, *replied])
            server.state.critic = critic.packed()
        for client in answered:
            own, some = torch.from_numpy(which[client]), unsure[client]
            guess = critic.mean(client, phi_NGF[own].flatten(0, 1)).view(-1, group).float().clamp(-CLIP, CLIP)
            scores_KNG[client, own] = torch.where(some, scores_KNG[client, own], guess)
        return scores_KNG, answered

    def _fetched(
        self, server: Server, positions: Ints, texts: list[list[str]], which: dict[int, Ints], sent: dict[int, Tensor]
    ) -> tuple[Tensor, list[int]]:
        """Scores ``[K, N, G]`` of the answers that are sent, zero elsewhere, and who answered."""
        if all(bool(some.all()) for some in sent.values()):
            return super().asked(server, positions, texts, {client: which[client] for client in sent})
        # Questions have different numbers of answers to send, so each answer goes as a question's only one.
        group = len(texts[0])
        lone = [[text] for some in texts for text in some]
        chosen = {client: (torch.from_numpy(which[client])[:, None] * group + torch.arange(group))[some].numpy()
                  for client, some in sent.items()}  # fmt: skip
        scores_KM1, answered = super().asked(server, np.repeat(positions, group), lone, chosen)
        return scores_KM1.view(server.clients, len(positions), group), answered


def features(bench: Bench, positions: Ints, texts: list[list[str]], most: int) -> Tensor:
    """What the untouched base makes of (picture, question, text), and a one behind it: ``[N, G, F]``.

    Of more than ``most`` features there are as many random mixtures of them, the same in every call.
    """
    table = bench.pool_rows.table

    def make() -> Reader:
        return make_reader(bench.model, table, np.arange(len(table)), bench.cache, None, "both", True)

    reader, group = once(bench, "critic", make), len(texts[0])
    with torch.no_grad():
        found = reader.texts({}, np.repeat(positions, group), [text for some in texts for text in some]).cpu()
    if found.shape[1] > most:
        found = found @ torch.randn(found.shape[1], most, generator=generator(bench.seed, "critic")) / most**0.5
    return torch.cat([found, torch.ones(len(found), 1)], dim=1).view(len(positions), group, -1)
