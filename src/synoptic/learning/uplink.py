"""What a client tells of its images' embeddings, and what the server makes of it.

``embeddings``: every one. ``capped``: at most so many of each class. ``prototypes``: each class's mean and count and
one diagonal variance for all, from which the server draws as many embeddings as there were.

Legend: n embeddings of one client, m of them sent (or its classes), E joint dimension, U embeddings on the server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

Told = dict[str, Tensor]
"""One client's fields. ``embedding [m, E]`` and ``label [m]`` are always there."""

MOST = 10_000
"""Embeddings drawn for one class of one client, whatever count it tells."""


class Uplink(Protocol):
    """Packs on the client, unpacks on the server."""

    def pack(self, images_nE: Tensor, labels_n: Tensor, rng: torch.Generator) -> Told:
        """What is sent; ``images_nE`` are normalised, ``labels_n`` places among the candidates."""
        ...

    def unpack(self, told: Mapping[str, Tensor], rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Embeddings ``[U, E]`` and labels ``[U]`` of one client."""
        ...


@dataclass(frozen=True)
class Embeddings:
    """Every embedding with its label, or at most ``cap`` of each class, drawn anew each time."""

    cap: int | None = None

    def pack(self, images_nE: Tensor, labels_n: Tensor, rng: torch.Generator) -> Told:
        """See `Uplink`."""
        kept = torch.arange(len(labels_n)) if self.cap is None else balanced(labels_n, self.cap, rng)
        return {"embedding": images_nE[kept], "label": labels_n[kept]}

    def unpack(self, told: Mapping[str, Tensor], rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """See `Uplink`."""
        return told["embedding"], told["label"].long()


@dataclass(frozen=True)
class Prototypes:
    """Class means, counts and a shared diagonal variance."""

    def pack(self, images_nE: Tensor, labels_n: Tensor, rng: torch.Generator) -> Told:
        """See `Uplink`."""
        means, labels, counts, variance = prototypes(images_nE, labels_n)
        return {"embedding": means, "label": labels, "count": counts.int(), "variance": variance}

    def unpack(self, told: Mapping[str, Tensor], rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """See `Uplink`."""
        counts = told["count"].long().clamp(0, MOST)
        return resample(told["embedding"], told["label"].long(), counts, told["variance"], rng)


def uplink(kind: str, cap: int) -> Uplink:
    """The uplink that a recipe names; ``cap`` is for ``capped``."""
    known: dict[str, Uplink] = {"embeddings": Embeddings(), "capped": Embeddings(cap), "prototypes": Prototypes()}
    return known[kind]


def balanced(labels_n: Tensor, cap: int, rng: torch.Generator) -> Tensor:
    """Ascending positions of at most ``cap`` examples of each class."""
    order = torch.randperm(len(labels_n), generator=rng)
    kept = [order[labels_n[order] == label][:cap] for label in labels_n.unique()]
    return torch.cat(kept).sort().values


def prototypes(images_nE: Tensor, labels_n: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Class means ``[m, E]``, their labels ``[m]`` ascending, counts ``[m]``, and the variance within classes ``[E]``.

    The variance is pooled over classes, with as many degrees of freedom as examples beyond one for each class; without
    any it is zero.
    """
    labels, place, counts = labels_n.unique(return_inverse=True, return_counts=True)
    sums = torch.zeros(len(labels), images_nE.shape[1]).index_add_(0, place, images_nE)
    means = sums / counts[:, None]
    freedom = max(len(labels_n) - len(labels), 1)
    return means, labels, counts, (images_nE - means[place]).square().sum(0) / freedom


def resample(
    means_mE: Tensor, labels_m: Tensor, counts_m: Tensor, variance_E: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Normalised draws ``[U, E]`` around the means, as many of each class as ``counts_m`` say, and their labels."""
    centres, labels = means_mE.repeat_interleave(counts_m, dim=0), labels_m.repeat_interleave(counts_m)
    noise = torch.randn(centres.shape, generator=rng)
    return F.normalize(centres + noise * variance_E.clamp(min=0).sqrt(), dim=-1), labels


def pack_all(
    chosen: Uplink, images: Sequence[Tensor], labels: Sequence[Tensor], streams: Sequence[torch.Generator]
) -> dict[str, list[Tensor]]:
    """Every client's fields, one tensor for each under each name."""
    told = [chosen.pack(*one) for one in zip(images, labels, streams, strict=True)]
    return {name: [one[name] for one in told] for name in told[0]}


def unpack_all(
    chosen: Uplink, told: Sequence[Mapping[str, object]], streams: Sequence[torch.Generator]
) -> tuple[Tensor, Tensor]:
    """Embeddings ``[U, E]`` and labels ``[U]`` of all clients, in their order."""
    tensors = [{name: field for name, field in one.items() if isinstance(field, Tensor)} for one in told]
    parts = [chosen.unpack(one, rng) for one, rng in zip(tensors, streams, strict=True)]
    return torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts])


def oddity(told: Mapping[str, object], classes: int, dim: int) -> str | None:
    """What is wrong with one client's fields, or None: sizes that do not fit, labels of no class, negative counts."""
    embedding, label = told.get("embedding"), told.get("label")
    count, variance = told.get("count"), told.get("variance")
    if not isinstance(embedding, Tensor) or not isinstance(label, Tensor):
        return "it sent no embeddings with labels"
    if embedding.ndim != 2 or embedding.shape[1] != dim or label.shape != embedding.shape[:1] or not len(label):
        return f"its embeddings {list(embedding.shape)} and labels {list(label.shape)} do not fit ([m, {dim}] and [m])"
    if label.is_floating_point() or int(label.min()) < 0 or int(label.max()) >= classes:
        return f"it names a class outside 0 to {classes - 1}"
    if isinstance(count, Tensor) and (count.shape != label.shape or count.is_floating_point() or int(count.min()) < 1):
        return "its counts are not one positive number for each class"
    if isinstance(variance, Tensor) and (variance.shape != (dim,) or float(variance.min()) < 0):
        return f"its variance is not {dim} numbers of at least zero"
    return None
