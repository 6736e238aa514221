"""FedDTL as a person writes it with PyTorch and a Hugging Face CLIP: one client and one batch at a time, no cache.

The same algorithm, batches and noise as Synoptic's, so both must end a round with the same weights. As in `bare`, there
is nothing of Synoptic in it.

Legend: N training images, B rows, C classes, E joint dimension, G answers, U uploaded embeddings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.bare import embed, put

Factors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Plan:
    """One job as plain tensors.

    Attributes:
        pixels_N3HW, labels_N: preprocessed images and their classes.
        ids_CT: tokenised class prompts.
        held: each client's rows, in the order in which their embeddings are sent.
        batches: each client's batches of one round.
        server_batches: the server's batches, rows of all that is sent.
        noise: makes a client's generator for a round.
        lr: of clients and server.
        group, radius, clip, beta: of the second stage; ``radius`` is the noise's length over the latent's.
    """

    pixels_N3HW: Tensor
    labels_N: Tensor
    ids_CT: Tensor
    held: Sequence[Tensor]
    batches: Sequence[Sequence[Tensor]]
    server_batches: Sequence[Tensor]
    noise: Callable[[int], torch.Generator]
    lr: float
    group: int = 3
    radius: float = 0.23
    clip: float = 0.2
    beta: float = 0.5


@dataclass(frozen=True)
class State:
    """LoRA factors of the image and the text tower, and of the image tower when the warm-up ended."""

    vision: Factors
    text: Factors
    anchor: Factors


def names(model: Any, ids_CT: Tensor) -> Tensor:
    """Normalised class embeddings ``[C, E]``."""
    return F.normalize(model.get_text_features(input_ids=ids_CT).pooler_output, dim=-1)


def log_probabilities(model: Any, latents_BE: Tensor, texts_CE: Tensor) -> Tensor:
    """``[B, C]``."""
    logits: Tensor = model.logit_scale.exp() * F.normalize(latents_BE, dim=-1) @ texts_CE.T
    return logits.log_softmax(-1)


def supervised(model: Any, plan: Plan, rows: Tensor, texts_CE: Tensor) -> Tensor:
    """Cross-entropy."""
    return F.nll_loss(log_probabilities(model, embed(model, plan.pixels_N3HW[rows]), texts_CE), plan.labels_N[rows])


def reinforced(
    model: Any, reference: Any, plan: Plan, rows: Tensor, texts_CE: Tensor, noise: torch.Generator
) -> Tensor:
    """Clipped policy gradient and the k3 divergence from the reference."""
    pixels, labels = plan.pixels_N3HW[rows], plan.labels_N[rows]
    z = embed(model, pixels)
    log_p = log_probabilities(model, z, texts_CE)
    with torch.no_grad():
        std = plan.radius * z.norm(dim=-1)[:, None, None] / z.shape[1] ** 0.5
        shaken = z[:, None] + std * torch.randn(len(rows), plan.group, z.shape[1], generator=noise)
        actions = (shaken @ texts_CE.T).argmax(-1)
        reward = (actions == labels[:, None]).float()
        advantage = (reward - reward.mean(1, keepdim=True)) / (reward.std(1, unbiased=False, keepdim=True) + 1e-8)
        log_ref = log_probabilities(reference, embed(reference, pixels), texts_CE).gather(1, actions)
    new = log_p.gather(1, actions)
    ratio = (new - new.detach()).exp()
    gain = torch.minimum(ratio * advantage, ratio.clamp(1 - plan.clip, 1 + plan.clip) * advantage)
    return -(gain - plan.beta * ((log_ref - new).exp() - (log_ref - new) - 1)).mean()


@torch.no_grad()
def merge_reference(reference: Any, base: Any, first: Factors, second: Factors) -> None:
    """Overwrite the reference's weights by the base's and half of both updates."""
    for path in {name.rpartition("/")[0] for name in first}:
        update = sum(one[f"{path}/B"] @ one[f"{path}/A"] for one in (first, second)) / 2
        reference.get_submodule(path).weight.copy_(base.get_submodule(path).base.weight + update)


def descend(parameters: Sequence[nn.Parameter], lr: float, losses: Sequence[Callable[[], Tensor]]) -> None:
    """A fresh AdamW over a sequence of losses."""
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0, fused=True)
    for loss in losses:
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        optimizer.step()


def feddtl_round(
    model: Any, vision: Mapping[str, nn.Parameter], text: Mapping[str, nn.Parameter], plan: Plan, state: State,
    reference: Any = None,
) -> State:  # fmt: skip
    """One round; of the second stage where there is a reference model.

    Args:
        model: worn with LoRA on both towers, whose parameters are ``vision`` and ``text``.
        vision, text: the parameters by name.
        plan: data, batches and settings.
        state: what the round starts from.
        reference: another copy of the base, to be overwritten.
    """
    put(text, state.text)
    with torch.no_grad():
        texts = names(model, plan.ids_CT)
    if reference is not None:
        merge_reference(reference, model, state.anchor, state.vision)
    total = {name: torch.zeros_like(tensor) for name, tensor in state.vision.items()}
    sent, labels = [], []
    everybody = sum(len(rows) for rows in plan.held)
    for client, rows in enumerate(plan.held):
        put(vision, state.vision)
        noise = plan.noise(client)
        losses = [
            partial(supervised, model, plan, batch, texts)
            if reference is None
            else partial(reinforced, model, reference, plan, batch, texts, noise)
            for batch in plan.batches[client]
        ]
        descend(list(vision.values()), plan.lr, losses)
        with torch.no_grad():
            sent.append(F.normalize(embed(model, plan.pixels_N3HW[rows]), dim=-1))
        labels.append(plan.labels_N[rows])
        for name, parameter in vision.items():
            total[name].add_(parameter.detach(), alpha=len(rows) / everybody)
    images_UE, labels_U = torch.cat(sent), torch.cat(labels)

    def align(rows: Tensor) -> Tensor:
        logits = model.logit_scale.exp() * images_UE[rows] @ names(model, plan.ids_CT).T
        return F.cross_entropy(logits, labels_U[rows])

    descend(list(text.values()), plan.lr, [partial(align, batch) for batch in plan.server_batches])
    return replace(state, vision=total, text={name: one.detach().clone() for name, one in text.items()})
