"""From counts to metrics with names that say everything: ``<model>/<split>/<quantity>/<average>``.

``shared/local/accuracy/worst`` is the lowest accuracy that any client gets from the shared model on its own test data.
``mean`` gives every client (or, for a pooled test set, every example) the same weight, ``weighted`` every example of
every client, ``worst`` is the client with the lowest value, ``p10`` the value that nine clients in ten reach (linear
between clients). ``hm`` is the harmonic mean of base and novel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from synoptic.adapters.stack import expand
from synoptic.core.seeds import numpy_generator
from synoptic.federation.ledger import EVALUATION
from synoptic.federation.message import Replies, Stacked
from synoptic.federation.server import Server
from synoptic.methods.base import Method
from synoptic.methods.evaluation import LOCAL

Metrics = dict[str, float]

LOW = 0.1
"""Of all clients, this share is below ``p10``."""


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
    pooled, problem = list(server.bench.data.tests), server.bench.problem
    metrics: Metrics = {}
    adapter = method.shared_model(server) if method.has_shared else None
    if method.has_shared:
        stack = expand(adapter, 1) if adapter is not None else {}
        for split, scores in problem.score_all(stack, server.bench.data.tests).items():
            metrics |= {f"shared/{split}/{name}/mean": float(each[0].double().mean()) for name, each in scores.items()}
    splits = [LOCAL, *pooled] if method.has_personal and pooled_personal else [LOCAL]
    sent = method.broadcast(server)
    payload = {"adapter": sent} if sent is not None else {}
    replies = server.ask(EVALUATION, to=_asked(server, most_clients), splits=",".join(splits), **payload)
    for name in ("shared", "personal"):
        for split in splits:
            for quantity in problem.quantities:
                metrics |= _averages(f"{name}/{split}/{quantity}", replies.fields.get(f"count/{split}"), replies)
    return Evaluation(metrics | _harmonic(metrics), _per_client(server, replies))


def _asked(server: Server, most: int | None) -> Sequence[int]:
    if most is None or most >= server.clients:
        return range(server.clients)
    rng = numpy_generator(server.bench.seed, "evaluated clients")
    return sorted(int(client) for client in rng.choice(server.clients, most, replace=False))


def _averages(name: str, count: Stacked | None, replies: Replies) -> Metrics:
    totals = replies.fields.get(name)
    if not isinstance(totals, Tensor) or not isinstance(count, Tensor) or not bool((count > 0).any()):
        return {}
    known = count > 0
    value = totals[known].double() / count[known].double()
    mean = {f"{name}/mean": float(value.mean())}
    if name.endswith("/loss"):
        return mean
    weight = count[known].double() / count[known].double().sum()
    return mean | {
        f"{name}/weighted": float(torch.dot(value, weight)),
        f"{name}/worst": float(value.min()),
        f"{name}/p10": float(value.quantile(LOW)),
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
    quantities = [quantity for quantity in server.bench.problem.quantities if quantity != "loss"]
    names = [f"{model}/{LOCAL}/{quantity}" for model in ("shared", "personal") for quantity in quantities]
    for place, client in enumerate(replies.clients):
        count = float(counts[place])
        row: Metrics = {"examples": count}
        for name in names:
            totals = replies.fields.get(name)
            if totals is not None and count:
                row[name] = float(totals[place]) / count
        table[server.bench.data.clients.name(client)] = row
    return table
