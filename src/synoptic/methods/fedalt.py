"""FedALT (Bian et al. 2026): a LoRA pair of one's own that is never overwritten, beside the frozen rest of the world.

``h = W0 x + s (a_1(x) B_k A_k + a_2(x) B_r A_r) x``: the rest of the world is the mean of all other clients' factors,
and a personal mixer ``a(x) = softmax(G_k x)`` gives both their shares, token by token.

Legend: N all clients, K clients of a cohort.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field, field_validator
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.slots import in_slot, together
from synoptic.adapters.stack import names
from synoptic.federation.message import Each
from synoptic.methods.base import Cohort, Method, Replies, Section, Server, task
from synoptic.methods.pairs import beside, first_pairs, lora_of, mixers, with_scales_of

OTHERS = "others"


class FedALT(Method):
    """Every client trains its own pair and its mixer; the others' mean is worn beside, and stays as it is."""

    class Settings(Section):
        """How the own pair and the rest of the world share in the update."""

        mixer: float | Literal["token"] = Field(
            "token", description="token: a learned softmax(G x) of each token; a number: the own pair's fixed share"
        )

        @field_validator("mixer")
        @classmethod
        def _share(cls, mixer: float | str) -> float | str:
            # At 0 no own pair would ever move, and what a client sends would be what it keeps.
            if not isinstance(mixer, str) and not 0 < mixer <= 1:
                raise ValueError("the own pair's share is above 0 and at most 1, or token")
            return mixer

    summary = "an own LoRA pair beside the frozen mean of all others', mixed by token (Bian et al. 2026)"
    has_shared = False
    has_personal = True
    personal = ("*/mixer/*", f"*@{OTHERS}/*")

    def begin(self, server: Server) -> None:
        """Nobody has sent anything; the first rest of the world is an update of zero."""
        fresh = lora_of(first_pairs(server.bench, server.bench.seed))
        server.state.latest = TensorDict({name: fresh[name].expand(server.clients, *fresh[name].shape).clone()
                                          for name in names(fresh)}, [])  # fmt: skip
        server.state.seen = torch.zeros(server.clients, dtype=torch.bool)

    def round(self, server: Server, t: int) -> None:
        """Send everybody the mean of the others' newest pairs, and remember the new ones."""
        s = server.state
        others = rest_of_world(s.latest, s.seen, server.sampled)
        replies = server.ask("train", others=Each(others))
        latest = {name: s.latest[name].index_copy(0, torch.tensor(replies.clients), replies.own[name])
                  for name in names(s.latest)}  # fmt: skip
        s.latest, s.seen = TensorDict(latest, []), s.seen.index_fill(0, torch.tensor(replies.clients), True)
        server.log["loss"] = float((replies.loss * replies.examples).sum() / replies.examples.sum())

    @task
    def train(self, cohort: Cohort, others: TensorDict) -> Replies:
        """Train the own pair and the mixer; the pair leaves too, the mixer stays."""
        own = self._own(cohort)
        moving = [name for name in names(own) if not name.endswith("/scale")]
        fitted = cohort.fit(self._worn(own, others), trainable=moving)
        kept = with_scales_of(fitted.stack.select(*names(own)), own[0])
        reply = cohort.reply(own=lora_of(kept), examples=cohort.examples, loss=fitted.loss)
        cohort.personal["own"], cohort.personal[OTHERS] = kept, others
        return reply

    def personal_model(self, cohort: Cohort, shared: TensorDict | None) -> TensorDict | None:
        """The own pair and the rest of the world that it was last trained with."""
        fresh = lora_of(first_pairs(cohort.bench, cohort.bench.seed))
        return self._worn(self._own(cohort), cohort.personal.adapter(OTHERS, fresh))

    def _own(self, cohort: Cohort) -> TensorDict:
        """The own adapter and mixer ``[K]``."""
        fresh = first_pairs(cohort.bench, cohort.bench.seed)
        learned = [mixers(fresh, by_token=True)] if self.settings.mixer == "token" else []
        return cohort.personal.adapter("own", together(fresh, *learned))

    def _worn(self, own: TensorDict, others: TensorDict) -> TensorDict:
        if self.settings.mixer == "token":
            return together(own, in_slot(others, OTHERS))
        return beside(own, others, OTHERS, 1 - float(self.settings.mixer))


def rest_of_world(latest: TensorDict, seen_N: Tensor, clients: Sequence[int]) -> TensorDict:
    """The mean of everybody else's newest factors, for each of the clients, as a stack (FedALT's server).

    Args:
        latest: newest pairs of all clients, ``[N, ...]`` each.
        seen_N: who has sent any.
        clients: for whom.

    Returns:
        ``[len(clients)]`` adapters; B is zero, and so the update, for whom nobody else has sent anything.
    """
    chosen, weight = torch.tensor(list(clients)), seen_N.double()
    others = (weight.sum() - weight[chosen]).clamp(min=1)
    result = {}
    for name in names(latest):
        tensor = latest[name]
        if name.endswith("/scale"):
            result[name] = tensor[chosen].clone()
            continue
        weighted = tensor.double() * weight.view(-1, *[1] * (tensor.ndim - 1))
        rest = weighted.sum(0) - weighted[chosen]
        result[name] = (rest / others.view(-1, *[1] * (tensor.ndim - 1))).to(tensor.dtype)
    return TensorDict(result, batch_size=[len(chosen)])
