"""Blocks: an adapter of named parts, of which each client owns some, and their mean over whoever owns them.

A tensor's block is the first two parts of its name: ``mome/questions/query`` is of ``mome/questions``. A block that a
client does not own is absent from its adapter, not zero.

Legend: K clients of one upload.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.algebra import mean
from synoptic.adapters.stack import names
from synoptic.core import SynopticError


def block_of(name: str) -> str:
    """The block of a tensor.

    >>> block_of("encoder/image/lora/layers.3.q_proj/A")
    'encoder/image'
    """
    return "/".join(name.split("/")[:2])


def blocks_of(stack: TensorDict) -> dict[str, list[str]]:
    """Names of tensors by block, all sorted."""
    found: dict[str, list[str]] = {}
    for name in names(stack):
        found.setdefault(block_of(name), []).append(name)
    return found


def owned(stack: TensorDict, blocks: Iterable[str]) -> TensorDict:
    """The tensors of these blocks alone; no copy.

    Raises:
        SynopticError: a block that is not there.
    """
    there, wanted = blocks_of(stack), sorted(set(blocks))
    missing = [block for block in wanted if block not in there]
    if missing:
        raise SynopticError(f"block '{missing[0]}' is not there", f"there are: {', '.join(there) or 'none'}")
    return stack.select(*(name for block in wanted for name in there[block]))


@dataclass(frozen=True, eq=False)
class Upload:
    """What clients with the same blocks send.

    Attributes:
        clients: their numbers.
        stack: their trained blocks ``[K]``.
        touched: by block, how many examples went through it ``[K]``; blocks that are missing here count nothing.
    """

    clients: Sequence[int]
    stack: TensorDict
    touched: Mapping[str, Tensor]


def touched(paths: Mapping[str, Iterable[str]], examples: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Examples that went through each block ``[K]``: the sum over the tasks whose path it lies on.

    Args:
        paths: blocks by task.
        examples: training examples ``[K]`` by task.
    """
    result: dict[str, Tensor] = {}
    for task, count in examples.items():
        for block in paths[task]:
            result[block] = result[block] + count if block in result else count
    return result


def mean_per_block(before: TensorDict, uploads: Sequence[Upload]) -> TensorDict:
    """Every block's mean over the clients who own it, weighted by the examples that touched it.

    ``W_b <- sum_i n_ib W_b^i / sum_i n_ib`` (TAP, arXiv 2509.26524, aggregation; there with the client's whole data set
    as the weight). Sums run in float64 in client order, whatever the uploads are.

    Args:
        before: the server's blocks (batch size ``[]``); those that nobody touched keep their value.
        uploads: at most one of each client.

    Raises:
        SynopticError: a client twice, an unknown tensor, or weights that are no counts.
    """
    _check_clients(uploads)
    unknown = sorted({name for upload in uploads for name in names(upload.stack)} - set(names(before)))
    if unknown:
        raise SynopticError(f"a client sent {unknown[0]}, which the server does not have",
                            "send only blocks that were received")  # fmt: skip
    result = {name: before[name] for name in names(before)}
    for block, tensors in blocks_of(before).items():
        owners = [(upload, place) for upload in uploads for place in _owners(upload, block)]
        owners.sort(key=lambda owner: owner[0].clients[owner[1]])
        if owners:
            weights = torch.stack([upload.touched[block][place] for upload, place in owners])
            result |= _mean(tensors, owners, weights)
    return TensorDict(result, batch_size=[])


def _mean(tensors: list[str], owners: list[tuple[Upload, int]], weights: Tensor) -> dict[str, Tensor]:
    stack = {name: torch.stack([upload.stack[name][place] for upload, place in owners]) for name in tensors}
    averaged = mean(TensorDict(stack, batch_size=[len(owners)]), weights)
    return {name: averaged[name] for name in tensors}


def _owners(upload: Upload, block: str) -> list[int]:
    """Places of the clients for whom some example went through the block."""
    count = upload.touched.get(block)
    if count is None or block not in blocks_of(upload.stack):
        return []
    if count.shape != (len(upload.clients),) or not bool(torch.isfinite(count).all()) or bool((count < 0).any()):
        raise SynopticError(f"{count.tolist()} are no counts of the examples that {len(upload.clients)} clients put "
                            f"through '{block}'", "give one finite number, at least zero, for each client")  # fmt: skip
    return torch.nonzero(count).flatten().tolist()


def _check_clients(uploads: Sequence[Upload]) -> None:
    clients = [client for upload in uploads for client in upload.clients]
    twice = sorted({client for client in clients if clients.count(client) > 1})
    if twice:
        raise SynopticError(f"client {twice[0]} is in two uploads", "average each client once")
