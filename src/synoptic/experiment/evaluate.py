"""From counts to metrics with names that say everything: ``<model>/<split>/<quantity>/<average>``.

``shared/local/accuracy/worst`` is the lowest accuracy that any client gets from the shared model on its own test data.
``mean`` gives every client (or, for a pooled test set, every example) the same weight, ``weighted`` every example of
every client, ``worst`` is the client with the lowest value (of errors the highest), ``p10`` the value that nine clients
in ten reach (linear between clients). ``hm`` is the harmonic mean of base and novel.

Where clients have different tasks, own test data are measured task by task, ``shared/local/<task>/accuracy/mean``.
``skill`` puts the tasks on one scale, 0 for not looking at the input and 1 for perfect
(`synoptic.learning.multitasking.MultiTasking.skill`): ``local/skill/mean`` gives every task the same weight,
``local/skill/worst`` is the lowest task.
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
from synoptic.learning.problem import measured
from synoptic.methods.base import Method

Metrics = dict[str, float]

MODELS = ("shared", "personal")
ERROR = "error"
"""The quantity that is worse the higher it is."""

KINDS = ("accuracy", ERROR)
"""What tells a task's skill."""

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
    parts = _replies(method, server, pooled if method.has_personal and pooled_personal else [], most_clients)
    for name in MODELS:
        for split in [*server.bench.data.local_splits, *pooled]:
            for quantity in measured(problem, split):
                metrics |= _averages(f"{name}/{split}/{quantity}", f"count/{split}", parts)
    metrics |= _harmonic(metrics) | _skills(server, metrics)
    return Evaluation(metrics, _per_client(server, parts))


def _replies(method: Method, server: Server, pooled: Sequence[str], most_clients: int | None) -> list[Replies]:
    """What clients counted, kind by kind: each is asked about its own tasks."""
    data, sent = server.bench.data, method.broadcast(server)
    kinds = data.kinds(_asked(server, most_clients))

    def ask(tasks: tuple[str, ...], clients: list[int]) -> Replies:
        payload = {"adapter": server.bench.owned(sent, clients)} if sent is not None else {}
        known = [split for split in (*data.local_splits, *pooled) if not tasks or split.rpartition("/")[2] in tasks]
        return server.ask(EVALUATION, to=clients, splits=",".join(known), **payload)

    if len(kinds) == 1:
        return [ask(tasks, clients) for tasks, clients in kinds.items()]
    with server.as_one():
        return [ask(tasks, clients) for tasks, clients in kinds.items()]


def _asked(server: Server, most: int | None) -> Sequence[int]:
    if most is None or most >= server.clients:
        return range(server.clients)
    rng = numpy_generator(server.bench.seed, "evaluated clients")
    return sorted(int(client) for client in rng.choice(server.clients, most, replace=False))


def _averages(name: str, count: str, parts: Sequence[Replies]) -> Metrics:
    found = [(part.fields.get(name), part.fields.get(count)) for part in parts]
    both = [(total, many) for total, many in found if isinstance(total, Tensor) and isinstance(many, Tensor)]
    if not any(bool((many > 0).any()) for _, many in both):
        return {}
    totals, counts = (torch.cat(side) for side in zip(*both, strict=True))
    known = counts > 0
    value = totals[known].double() / counts[known].double()
    mean = {f"{name}/mean": float(value.mean())}
    if name.endswith("/loss"):
        return mean
    weight = counts[known].double() / counts[known].double().sum()
    error = name.endswith(ERROR)
    return mean | {
        f"{name}/weighted": float(torch.dot(value, weight)),
        f"{name}/worst": float(value.max() if error else value.min()),
        f"{name}/p10": float(value.quantile(1 - LOW if error else LOW)),
    }


def _harmonic(metrics: Metrics) -> Metrics:
    result: Metrics = {}
    for model in MODELS:
        base, novel = (metrics.get(f"{model}/{split}/accuracy/mean") for split in ("base", "novel"))
        if base is not None and novel is not None:
            result[f"{model}/hm/accuracy/mean"] = 2 * base * novel / (base + novel) if base + novel else 0.0
    return result


def _skills(server: Server, metrics: Metrics) -> Metrics:
    """Each task's skill on own test data, and their mean, of every model; nothing where all have the same task."""
    tasking, result = server.bench.tasking, Metrics()
    if tasking is None:
        return result
    for model in MODELS:
        each: list[float] = []
        for name in tasking.model.tasks:
            split = f"{model}/local/{name}"
            value = next((metrics[key] for kind in KINDS if (key := f"{split}/{kind}/mean") in metrics), None)
            skill = None if value is None else tasking.skill(name, value)
            if skill is not None:
                result[f"{split}/skill/mean"] = skill
                each.append(skill)
        if each:
            result |= {f"{model}/local/skill/mean": sum(each) / len(each), f"{model}/local/skill/worst": min(each)}
    return result


def _per_client(server: Server, parts: Sequence[Replies]) -> dict[str, Metrics]:
    data, problem = server.bench.data, server.bench.problem
    rows: dict[int, Metrics] = {}
    for part in parts:
        for place, client in enumerate(part.clients):
            counted = {split: float(part.fields[f"count/{split}"][place]) for split in data.local_splits
                       if f"count/{split}" in part.fields}  # fmt: skip
            row: Metrics = {"examples": sum(counted.values())}
            for split, count in counted.items():
                for name in (f"{model}/{split}/{one}" for model in MODELS for one in measured(problem, split)):
                    if count and name in part.fields and not name.endswith("/loss"):
                        row[name] = float(part.fields[name][place]) / count
            rows[client] = row
    return {data.clients.name(client): rows[client] for client in sorted(rows)}
