"""From counts to metrics with names that say everything: ``<model>/<split>/<quantity>/<average>``.

``shared/local/accuracy/worst`` is the lowest accuracy that any client gets from the shared model on its own test data.
``mean`` gives every client (or, for a pooled test set, every example) the same weight, ``weighted`` every example of
every client, ``worst`` is the client with the lowest value. ``hm`` is the harmonic mean of base and novel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from synoptic.adapters.stack import expand
from synoptic.core.seeds import numpy_generator
from synoptic.federation.ledger import EVALUATION
from synoptic.federation.message import Replies
from synoptic.federation.server import Server
from synoptic.methods.base import Method
from synoptic.methods.evaluation import LOCAL, score

Metrics = dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one moment, and what each asked client got on its own test data, by client name."""

    metrics: Metrics
    clients: dict[str, Metrics]


def evaluate(method: Method, server: Server, pooled_personal: bool, most_clients: int | None) -> Evaluation:
    """Evaluate the current state.

    Args:
        method: whose models are evaluated.
        server: with the clients to ask.
        pooled_personal: whether personal models are also tried on the pooled test sets (costly).
        most_clients: ask at most so many clients, drawn once for the whole run; None asks all.
    """
    pooled = list(server.bench.data.tests)
    metrics: Metrics = {}
    adapter = method.shared_model(server) if method.has_shared else None
    if method.has_shared:
        stack = expand(adapter, 1) if adapter is not None else {}
        for split in pooled:
            right, losses = score(server.bench, stack, server.bench.data.tests[split], split)
            metrics[f"shared/{split}/accuracy/mean"] = float(right[0].double().mean())
            metrics[f"shared/{split}/loss/mean"] = float(losses[0].double().mean())
    splits = [LOCAL, *pooled] if method.has_personal and pooled_personal else [LOCAL]
    payload = {"adapter": adapter} if adapter is not None else {}
    replies = server.ask(EVALUATION, to=_asked(server, most_clients), splits=",".join(splits), **payload)
    for name in ("shared", "personal"):
        for split in splits:
            metrics |= _averages(name, split, replies)
    return Evaluation(metrics | _harmonic(metrics), _per_client(server, replies))


def _asked(server: Server, most: int | None) -> Sequence[int]:
    if most is None or most >= server.clients:
        return range(server.clients)
    rng = numpy_generator(server.bench.seed, "evaluated clients")
    return sorted(int(client) for client in rng.choice(server.clients, most, replace=False))


def _averages(model: str, split: str, replies: Replies) -> Metrics:
    totals = replies.fields.get(f"{model}/{split}")
    count = replies.fields.get(f"count/{split}")
    if not isinstance(totals, Tensor) or not isinstance(count, Tensor) or not bool((count > 0).any()):
        return {}
    known = count > 0
    share = totals[known].double() / count[known].double()[:, None]
    weight = count[known].double() / count[known].double().sum()
    accuracy, loss = share[:, 0], share[:, 1]
    return {
        f"{model}/{split}/accuracy/mean": float(accuracy.mean()),
        f"{model}/{split}/accuracy/weighted": float(torch.dot(accuracy, weight)),
        f"{model}/{split}/accuracy/worst": float(accuracy.min()),
        f"{model}/{split}/loss/mean": float(loss.mean()),
    }


def _harmonic(metrics: Metrics) -> Metrics:
    result: Metrics = {}
    for model in ("shared", "personal"):
        base, novel = (metrics.get(f"{model}/{split}/accuracy/mean") for split in ("base", "novel"))
        if base is not None and novel is not None:
            result[f"{model}/hm/accuracy/mean"] = 2 * base * novel / (base + novel) if base + novel else 0.0
    return result


def _per_client(server: Server, replies: Replies) -> dict[str, Metrics]:
    table: dict[str, Metrics] = {}
    counts = replies.fields.get(f"count/{LOCAL}", [])
    for place, client in enumerate(replies.clients):
        count = float(counts[place])
        row: Metrics = {"examples": count}
        for model in ("shared", "personal"):
            totals = replies.fields.get(f"{model}/{LOCAL}")
            if totals is not None and count:
                row[f"{model}/{LOCAL}/accuracy"] = float(totals[place][0]) / count
        table[server.bench.data.clients.name(client)] = row
    return table
