"""Clients with different tasks: asked kind by kind, because one ask is one stack, and averaged block by block.

Where all clients have the same task there is one kind, one ask, and the ordinary mean.

Legend: K clients of one kind, O tasks that they have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.algebra import mean as factor_mean
from synoptic.adapters.blocks import Upload, mean_per_block, touched
from synoptic.core import SynopticError
from synoptic.federation.message import Field, Replies
from synoptic.federation.server import Server

Mean = Callable[[TensorDict, Tensor], TensorDict]


def ask_kinds(
    server: Server, task: str, to: Sequence[int] | None = None, adapter: TensorDict | None = None, **payload: Field
) -> list[Replies]:
    """Ask everybody to do a task; each client is sent the part of the adapter that it owns.

    Args:
        server: who asks.
        task: the name of one of the method's tasks.
        to: which clients; this round's cohort when left out.
        adapter: everybody's, from which clients get the blocks of their tasks; None sends none.
        payload: what all are sent alike.

    Returns:
        One part for each kind of clients that answered; at least one.

    Raises:
        RoundFailed: too few valid replies of all clients together.
    """
    kinds = list(server.bench.data.kinds(server.sampled if to is None else to).values())

    def ask(clients: list[int]) -> Replies:
        sent: dict[str, Any] = dict(payload)
        if adapter is not None:
            sent["adapter"] = server.bench.owned(adapter, clients)
        replies = server.ask(task, to=clients, **sent)
        if server.bench.tasking is None or "rows" not in replies.fields:
            return replies
        return server.refuse(replies, task, lambda client, fields: _odd(server, client, fields["rows"]))

    if len(kinds) == 1:
        return [ask(kinds[0])]
    with server.as_one():
        parts = [ask(clients) for clients in kinds]
    return [part for part in parts if len(part)]


def averaged(server: Server, before: TensorDict, parts: Sequence[Replies], mean: Mean = factor_mean) -> TensorDict:
    """The mean of what clients trained, weighted by examples; of different tasks, of each block over whoever has it.

    Args:
        server: for the paths of tasks through the model.
        before: the server's adapter; blocks that nobody touched keep its values.
        parts: from `ask_kinds`, with the fields ``adapter`` and ``examples``; of several tasks ``rows`` ``[K, O]`` too.
        mean: of one kind of clients.

    Raises:
        SynopticError: another mean than `synoptic.adapters.algebra.mean` for clients with several tasks.
    """
    tasking = server.bench.tasking
    if tasking is None:
        (replies,) = parts
        return mean(replies.adapter, replies.examples)
    if mean is not factor_mean:
        raise SynopticError("blocks of several tasks are averaged factor by factor", "set method.mean=factor")
    paths = {name: tasking.model.path(name) for name in tasking.model.tasks}
    uploads = [Upload(part.clients, part.adapter, touched(paths, rows_by_task(server, part))) for part in parts]
    return mean_per_block(before, uploads)


def rows_by_task(server: Server, part: Replies) -> dict[str, Tensor]:
    """How many examples clients of one kind have of each of their tasks ``[K]``, from the field ``rows``."""
    (names,) = server.bench.data.kinds(part.clients)
    return {name: part.rows[:, place] for place, name in enumerate(names)}


def mean_loss(parts: Sequence[Replies]) -> float:
    """Everybody's mean training loss, weighted by examples."""
    loss, examples = (torch.cat([getattr(part, name) for part in parts]) for name in ("loss", "examples"))
    return float((loss * examples).sum() / examples.sum())


def _odd(server: Server, client: int, rows: Field) -> str | None:
    (names,) = server.bench.data.kinds([client])
    if isinstance(rows, Tensor) and rows.shape == (len(names),) and bool((rows >= 0).all()) and bool(rows.any()):
        return None
    return f"'rows' does not tell how many examples it has of each of its tasks {', '.join(names)}"
