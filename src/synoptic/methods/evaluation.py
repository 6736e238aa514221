"""Counting right answers: on a client for its own models, on the server for the pooled test sets.

Legend: K clients, n examples, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.stack import expand, leaves
from synoptic.federation.bench import Bench
from synoptic.federation.cohort import Cohort
from synoptic.federation.message import Replies, Stacked
from synoptic.learning.objectives.contrastive import correct

LOCAL = "local"


def candidates(bench: Bench, split: str) -> NDArray[np.int64]:
    """The classes among which an example of a split is classified.

    Base classes for ``local``, ``base`` and ``domain/...``; novel ones for ``novel``; all for ``global``.
    """
    data = bench.data
    if split == "novel":
        return data.novel_classes
    if split == "global":
        return np.sort(np.concatenate([data.base_classes, data.novel_classes]))
    return data.base_classes


@torch.no_grad()
def score(
    bench: Bench, stack: TensorDict | Mapping[str, Tensor], positions: NDArray[np.int64], split: str
) -> tuple[Tensor, Tensor]:
    """Right answers and cross-entropies ``[K, n]`` of every client's model on the same test examples."""
    classes = candidates(bench, split)
    worn = leaves(stack) if isinstance(stack, TensorDict) else stack
    logits = bench.classifier.predict(worn, bench.test_rows, positions, classes)
    place = np.full(len(bench.data.test.class_names), -1)
    place[classes] = np.arange(len(classes))
    labels = torch.from_numpy(place[bench.data.test.labels[positions]]).expand(logits.shape[:2])
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape)
    return correct(logits, labels), losses


def evaluate_cohort(
    cohort: Cohort, splits: Sequence[str], adapter: TensorDict | None, personal: TensorDict | None, shared: bool
) -> Replies:
    """Counts of each client: ``<model>/<split>`` ``[K, 2]`` (right answers, summed loss) and ``count/<split>`` ``[K]``.

    Args:
        cohort: the clients.
        splits: ``local`` (own test data) and names of pooled test sets.
        adapter: the shared model; None is the untouched base.
        personal: the clients' own models ``[K]``, or None.
        shared: whether the shared model is to be evaluated.
    """
    bench = cohort.bench
    fields: dict[str, Stacked] = {}
    tests = bench.data.clients
    for split in splits:
        own = split == LOCAL
        rows = [tests.test(client) if own else bench.data.tests[split] for client in cohort.clients]
        fields[f"count/{split}"] = torch.tensor([float(len(some)) for some in rows])
        if shared and own:
            base = expand(adapter, 1) if adapter is not None else {}
            fields[f"shared/{split}"] = _shared(bench, base, rows, split)
        if personal is not None:
            fields[f"personal/{split}"] = _personal(bench, personal, rows, split)
    return cohort.reply(**fields)


def _shared(
    bench: Bench, base: TensorDict | Mapping[str, Tensor], rows: Sequence[NDArray[np.int64]], split: str
) -> Tensor:
    """One model for all: every example is looked at once, however many clients hold it."""
    union, place = np.unique(np.concatenate(rows), return_inverse=True)
    right, losses = _scored(bench, base, union, split)
    parts = torch.from_numpy(place).split([len(some) for some in rows])
    return torch.stack([_totals(right[:, part], losses[:, part]) for part in parts])


def _personal(bench: Bench, personal: TensorDict, rows: Sequence[NDArray[np.int64]], split: str) -> Tensor:
    if split != LOCAL:
        right, losses = score(bench, personal, rows[0], split)
        return torch.stack([right.double().sum(1), losses.double().sum(1)], dim=1)
    return torch.stack([_totals(*_scored(bench, personal[k : k + 1], some, split)) for k, some in enumerate(rows)])


def _scored(
    bench: Bench, stack: TensorDict | Mapping[str, Tensor], rows: NDArray[np.int64], split: str
) -> tuple[Tensor, Tensor]:
    if len(rows) == 0:
        return torch.zeros(1, 0), torch.zeros(1, 0)
    return score(bench, stack, rows, split)


def _totals(right: Tensor, losses: Tensor) -> Tensor:
    return torch.stack([right[0].double().sum(), losses[0].double().sum()])
