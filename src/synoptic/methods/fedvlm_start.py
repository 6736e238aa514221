"""First values and ranks of the federated-LoRA family: what a client can make without being told.

Legend: K clients, r rank.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tensordict import TensorDict

from synoptic.adapters.slots import slot_of
from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import expand, names, rank_axis, stack_of
from synoptic.core.seeds import stream_seed
from synoptic.federation.bench import Bench


def first_adapters(
    bench: Bench, clients: Sequence[int], ranks: Sequence[int] | None, independent: bool, turn: int | None
) -> TensorDict:
    """Fresh adapters of these clients as a stack ``[K]``; every update is zero.

    Args:
        bench: with the recipe's adapter and seed.
        clients: whose.
        ranks: dealt out to all clients in turn; None gives everybody the recipe's.
        independent: every client draws its own A; otherwise all draw the same.
        turn: the round, where factors are drawn anew in each.
    """
    seeds = [_seed(bench.seed, client if independent else None, turn) for client in clients]
    made = {seed: bench.model.new_adapter(bench.adapter, seed) for seed in set(seeds)}
    if ranks is None and len(made) == 1:
        return expand(made[seeds[0]], len(clients))
    return stack_of([
        at_rank(made[seed], rank_of(client, ranks), bench.adapter) for seed, client in zip(seeds, clients, strict=True)
    ])  # fmt: skip


def _seed(seed: int, client: int | None, turn: int | None) -> int:
    seed = seed if client is None else stream_seed(seed, "own first adapter", client)
    return seed if turn is None else stream_seed(seed, "adapter of a round", turn)


def rank_of(client: int, ranks: Sequence[int] | None) -> int | None:
    """The LoRA rank of a client; None is the recipe's.

    >>> [rank_of(client, (2, 4, 8)) for client in range(4)]
    [2, 4, 8, 2]
    """
    return None if ranks is None else ranks[client % len(ranks)]


def at_rank(one: TensorDict, rank: int | None, spec: AdapterSpec) -> TensorDict:
    """The first ``rank`` dimensions of an adapter, whose part of the update stays what it was under another scale.

    A client of rank r has the scale alpha / r; B makes up for it. What is of that rank already is left alone.
    """
    if rank is None:
        return one
    result = {}
    for name in names(one):
        tensor, axis = one[name], _axis(name)
        gain = _scale(spec, name, None) / _scale(spec, name, rank) if "/lora/" in name else 1.0
        if slot_of(name) is None and name.endswith("/scale"):
            tensor = torch.full_like(tensor, _scale(spec, name, rank))
        elif axis is not None and tensor.shape[axis] > rank:
            tensor = tensor.narrow(axis, 0, rank) * (gain if axis else 1.0)
        result[name] = tensor
    return TensorDict(result, batch_size=one.batch_size)


def narrowed(one: TensorDict, rank: int | None) -> TensorDict:
    """An adapter without the padding of the stack that it was in; ``rank`` is its own."""
    if rank is None:
        return one
    kept = {
        name: one[name] if (axis := _axis(name)) is None else one[name].narrow(axis, 0, rank) for name in names(one)
    }
    return TensorDict(kept, batch_size=one.batch_size)


def _axis(name: str) -> int | None:
    return rank_axis(name) if slot_of(name) is None else None


def _scale(spec: AdapterSpec, name: str, rank: int | None) -> float:
    lora = getattr(spec, name.partition("/")[0]).lora
    scale: float = (lora if rank is None else lora.model_copy(update={"rank": rank})).scale
    return scale
