"""The federated-LoRA family as one table: what is trained, what is sent, how it is merged, what is kept.

A tensor is part ``A`` or ``B`` of a LoRA pair, or ``rest`` (heads, prompts). What a client trains and does not send, it
keeps: pLoRA sends B and keeps A and the rest, FedSA sends A and keeps B and the rest, Local keeps everything.

Legend: K clients, r rank.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.algebra import added, lora_stems, mean, product_mean, residual, stacking, without_padding
from synoptic.adapters.slots import slot_of
from synoptic.adapters.stack import leaves, names

Parts = frozenset[str]

ALL, NONE = frozenset({"A", "B", "rest"}), frozenset[str]()
PATTERNS = {"A": ("*/lora/*/A",), "B": ("*/lora/*/B",), "rest": ("*/head/*", "*/prompt/*")}
"""Tensor names of each part."""

MERGED = "merged"
"""The slot in which clients wear what the server has merged; the base itself never changes."""


def part_of(name: str) -> str:
    """``A``, ``B``, ``scale`` or ``rest``; ``merged`` for whatever lies in a slot.

    >>> part_of("vision/lora/vision_model.encoder.layers.3.self_attn.q_proj/A")
    'A'
    """
    if slot_of(name) is not None:
        return MERGED
    return name.rpartition("/")[2] if "/lora/" in name else "rest"


def part(adapter: TensorDict, parts: Parts | set[str]) -> TensorDict:
    """These parts of an adapter or a stack; no copy."""
    return adapter.select(*(name for name in names(adapter) if part_of(name) in parts))


def over(stack: TensorDict, other: TensorDict) -> TensorDict:
    """``stack`` with the tensors of ``other`` in place of its own, and those that it lacks; no copy."""
    return TensorDict({**leaves(stack), **leaves(other)}, batch_size=stack.batch_size)


@dataclass(frozen=True)
class Global:
    """What the server holds: the shared parts of one adapter without scales, and whatever it has merged so far."""

    shared: TensorDict
    merged: TensorDict | None = None


Merge = Callable[[TensorDict, Tensor, Global, TensorDict], Global]
"""(what clients sent ``[K]``, with scales; weights ``[K]``; what was; scales of the shared adapter) -> what is now."""


def factor_mean(sent: TensorDict, weights: Tensor, was: Global, scales: TensorDict) -> Global:
    """Every sent part by its weighted mean: ``A <- sum_k p_k A_k``, ``B <- sum_k p_k B_k``."""
    return Global(over(was.shared, part(mean(part(sent, ALL), weights), ALL)), was.merged)


def product_svd(sent: TensorDict, weights: Tensor, was: Global, scales: TensorDict) -> Global:
    """``U S V = svd_r(sum_k p_k s_k B_k A_k)``, split evenly between the factors (FlexLoRA, Bai et al. 2024)."""
    rank = was.shared[f"{lora_stems(was.shared)[0]}/A"].shape[0]
    one = product_mean(sent, weights, rank)
    for stem in lora_stems(one):
        # The first client's scale is only one of many; the shared adapter has its own.
        root = (one[f"{stem}/scale"] / scales[f"{stem}/scale"]).sqrt()
        one[f"{stem}/A"], one[f"{stem}/B"] = one[f"{stem}/A"] * root, one[f"{stem}/B"] * root
    return Global(part(one, ALL), was.merged)


def mean_and_residual(sent: TensorDict, weights: Tensor, was: Global, scales: TensorDict) -> Global:
    """Factor means, and what they miss: ``W <- W + s (sum_k p_k B_k A_k - B A)`` (FedEx-LoRA, Singhal et al. 2025)."""
    now = factor_mean(sent, weights, was, scales)
    return Global(now.shared, _more(was.merged, residual(sent, over(now.shared, scales), weights)))


def merged_stack(sent: TensorDict, weights: Tensor, was: Global, scales: TensorDict) -> Global:
    """``W <- W + sum_k p_k s_k B_k A_k``, all factors side by side (FLoRA, Wang et al. 2024); clients start anew."""
    return Global(was.shared, _more(was.merged, without_padding(stacking(sent, weights))))


def _more(merged: TensorDict | None, update: TensorDict) -> TensorDict:
    return added(merged, update) if merged is not None else update


@dataclass(frozen=True)
class Rule:
    """One line of the table.

    Attributes:
        trains: which parts move in a round; rounds take turns.
        sends: which parts leave the client, of those that it trained. The server sends the merged ones back.
        merge: what the server makes of them.
        restarts: whether clients begin every round with fresh factors, because theirs were merged.
        any_rank: whether clients may have LoRA of different ranks.
    """

    trains: tuple[Parts, ...]
    sends: Parts
    merge: Merge = factor_mean
    restarts: bool = False
    any_rank: bool = False

    def trained(self, t: int) -> Parts:
        """What moves in round ``t``."""
        return self.trains[t % len(self.trains)]

    def sent(self, t: int) -> Parts:
        """What leaves the client in round ``t``."""
        return self.sends & self.trained(t)

    @property
    def returned(self) -> Parts:
        """What the server sends back; merged updates come in their own slot."""
        return NONE if self.restarts else self.sends

    @property
    def kept(self) -> Parts:
        """What is personal."""
        return NONE.union(*self.trains) - self.sends

    @property
    def about_factors(self) -> bool:
        """Whether A and B are treated differently, or products are formed."""
        return len({*self.trains, ALL}) > 1 or self.sends not in (ALL, NONE) or self.merge is not factor_mean

    @property
    def own_start(self) -> bool:
        """Whether a client's first A is its own affair, and need not be everybody's."""
        return "A" in self.kept or self.restarts


A, B = ALL - {"B"}, ALL - {"A"}  # with the rest, which has no side

RULES = {
    "local": Rule(trains=(ALL,), sends=NONE, any_rank=True),
    "fedavg": Rule(trains=(ALL,), sends=ALL),
    "ffa": Rule(trains=(B,), sends=B),
    "rolora": Rule(trains=(B, A), sends=ALL),
    "fedsa": Rule(trains=(ALL,), sends=frozenset("A")),
    "plora": Rule(trains=(ALL,), sends=frozenset("B")),
    "fedex": Rule(trains=(ALL,), sends=ALL, merge=mean_and_residual),
    "flora": Rule(trains=(ALL,), sends=ALL, merge=merged_stack, restarts=True, any_rank=True),
    "flexlora": Rule(trains=(ALL,), sends=ALL, merge=product_svd, any_rank=True),
}
"""RoLoRA's first turn is B's: while B is zero, A has no gradient."""
