"""Counting right answers: on a client for its own models, on the server for the pooled test sets.

Legend: K clients, n examples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.stack import expand
from synoptic.federation.bench import Bench
from synoptic.federation.cohort import Cohort
from synoptic.federation.message import Replies, Stacked
from synoptic.learning.problem import Stack, measured

Scores = dict[str, Tensor]
"""By quantity."""


def evaluate_cohort(
    cohort: Cohort, splits: Sequence[str], adapter: TensorDict | None, personal: TensorDict | None, shared: bool
) -> Replies:
    """Sums of each client: ``<model>/<split>/<quantity>`` and ``count/<split>``, all ``[K]``.

    Args:
        cohort: the clients.
        splits: of own test data (``local``, or ``local/<task>``) and names of pooled test sets.
        adapter: the shared model; None is the untouched base.
        personal: the clients' own models ``[K]``, or None.
        shared: whether the shared model is to be evaluated.
    """
    bench = cohort.bench
    fields: dict[str, Stacked] = {}
    data = bench.data
    pooled = {split: data.tests[split] for split in splits if split not in data.local_splits}
    together = bench.problem.score_all(personal, pooled) if personal is not None else {}
    for split in splits:
        own = split not in pooled
        rows = [data.local_rows(client, split) if own else pooled[split] for client in cohort.clients]
        fields[f"count/{split}"] = torch.tensor([float(len(some)) for some in rows])
        if shared and own:
            base = expand(adapter, 1) if adapter is not None else {}
            fields |= _named(f"shared/{split}", _shared(bench, base, rows, split))
        if personal is not None:
            scores = _personal(bench, personal, rows, split) if own else _summed(together[split])
            fields |= _named(f"personal/{split}", scores)
    return cohort.reply(**fields)


def _shared(bench: Bench, base: Stack, rows: Sequence[NDArray[np.int64]], split: str) -> Scores:
    """One model for all: every example is looked at once, however many clients hold it."""
    union, place = np.unique(np.concatenate(rows), return_inverse=True)
    scores = _scored(bench, base, union, split)
    parts = torch.from_numpy(place).split([len(some) for some in rows])
    return {name: torch.stack([each[0, part].double().sum() for part in parts]) for name, each in scores.items()}


def _personal(bench: Bench, personal: TensorDict, rows: Sequence[NDArray[np.int64]], split: str) -> Scores:
    own = [_scored(bench, personal[k : k + 1], some, split) for k, some in enumerate(rows)]
    return {name: torch.stack([one[name][0].double().sum() for one in own]) for name in measured(bench.problem, split)}


def _summed(scores: Scores) -> Scores:
    return {name: each.double().sum(1) for name, each in scores.items()}


def _scored(bench: Bench, stack: Stack, rows: NDArray[np.int64], split: str) -> Scores:
    if len(rows) == 0:
        return {name: torch.zeros(1, 0) for name in measured(bench.problem, split)}
    return bench.problem.score(stack, rows, split)


def _named(stem: str, scores: Scores) -> dict[str, Stacked]:
    return {f"{stem}/{name}": each for name, each in scores.items()}
