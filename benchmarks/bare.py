"""The bare loops: what a person writes with PyTorch and a Hugging Face CLIP, and nothing of Synoptic in it.

Every engine is measured against these, and other engines run the same model code from here, so what differs is the
engine and not the arithmetic. Imports: torch, transformers, safetensors.

Legend: K clients, N training images, R rounds, B rows, C classes, L context vectors, T tokens, D width, E joint
dimension, r rank.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Loss = Callable[[Tensor], Tensor]
"""Rows of the training set ``[B]`` -> their mean loss."""


@dataclass(frozen=True)
class Workload:
    """One FedAvg job as plain tensors.

    Attributes:
        pixels_N3HW, labels_N: preprocessed images and their classes.
        texts_CE: normalised embeddings of the class names.
        order_RN: for every round, each client's rows in the order in which it sees them, client after client.
        offsets: ``[K + 1]``, where each client's rows begin.
        start: initial LoRA factors, ``<module path>/A`` and ``.../B``; the scale alpha / r is one.
        lr, batch_size: of the local AdamW.
    """

    pixels_N3HW: Tensor
    labels_N: Tensor
    texts_CE: Tensor
    order_RN: Tensor
    offsets: list[int]
    start: dict[str, Tensor]
    lr: float
    batch_size: int

    @property
    def clients(self) -> int:
        return len(self.offsets) - 1

    def rows(self, round_: int, client: int) -> Tensor:
        """What one client sees in one round, in order."""
        order = self.order_RN[round_ % len(self.order_RN)]
        return order[self.offsets[client] : self.offsets[client + 1]]


def read_workload(path: Path) -> Workload:
    """The job that `benchmarks.workload.save` wrote."""
    from safetensors.torch import load_file

    tensors = load_file(path)
    start = {name[len("start|") :]: tensor for name, tensor in tensors.items() if name.startswith("start|")}
    return Workload(
        tensors["pixels"], tensors["labels"], tensors["texts"], tensors["order"], tensors["offsets"].tolist(),
        start, float(tensors["lr"]), int(tensors["batch_size"]),
    )  # fmt: skip


def load_clip(folder: Path | str) -> Any:
    """A frozen CLIP from a folder."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    model = transformers.CLIPModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return model.eval().requires_grad_(False)


class Lora(nn.Module):
    """A frozen linear layer and a low-rank update: ``W x + b + B A x`` (Hu et al. 2022, eq. 3, alpha = r)."""

    def __init__(self, base: nn.Linear, A_rD: Tensor, B_Dr: Tensor) -> None:
        super().__init__()
        self.base = base
        self.A = nn.Parameter(A_rD.clone())
        self.B = nn.Parameter(B_Dr.clone())

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.base(x) + F.linear(F.linear(x, self.A), self.B)
        return result


def wear(model: nn.Module, start: Mapping[str, Tensor]) -> dict[str, nn.Parameter]:
    """Put LoRA on the named layers, in place; the trainable parameters come back under the names of ``start``."""
    parameters: dict[str, nn.Parameter] = {}
    for path in sorted({name.rpartition("/")[0] for name in start}):
        parent, _, last = path.rpartition(".")
        layer = Lora(getattr(model.get_submodule(parent), last), start[f"{path}/A"], start[f"{path}/B"])
        setattr(model.get_submodule(parent), last, layer)
        parameters |= {f"{path}/A": layer.A, f"{path}/B": layer.B}
    return parameters


def embed(model: Any, pixels: Tensor) -> Tensor:
    """Image embeddings ``[B, E]``, not normalised, by the library's own forward pass."""
    embedding: Tensor = model.get_image_features(pixel_values=pixels).pooler_output
    return embedding


def embed_pooled(model: Any, pixels: Tensor) -> Tensor:
    """The same embeddings; the last block computes only the pooled token's output, which is all that is read.

    Synoptic does this too. A loop with it tells the engine's own cost apart from this saving.
    """
    tower = model.vision_model
    hidden = tower.pre_layrnorm(tower.embeddings(pixels))
    for layer in tower.encoder.layers[:-1]:
        hidden = layer(hidden, None)
    last = tower.encoder.layers[-1]
    attention, normed, first = last.self_attn, last.layer_norm1(hidden), hidden[:, :1]
    split = (-1, attention.num_heads)
    q, k, v = (
        t.unflatten(-1, split[::-1]).transpose(1, 2)
        for t in (attention.q_proj(normed[:, :1]), attention.k_proj(normed), attention.v_proj(normed))
    )
    mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    first = first + attention.out_proj(mixed)
    first = first + last.mlp(last.layer_norm2(first))
    embedding: Tensor = model.visual_projection(tower.post_layernorm(first[:, 0]))
    return embedding


def classify(model: Any, images_BE: Tensor, texts_CE: Tensor, labels_B: Tensor) -> Tensor:
    """Mean cross-entropy of images against class names; the texts are normalised already."""
    logits_BC = model.logit_scale.exp() * F.normalize(images_BE, dim=-1) @ texts_CE.T
    return F.cross_entropy(logits_BC, labels_B)


def lora_loss(model: Any, job: Workload, embedding: Callable[[Any, Tensor], Tensor] = embed) -> Loss:
    """Images through the adapted tower, texts computed once."""
    return lambda rows: classify(model, embedding(model, job.pixels_N3HW[rows]), job.texts_CE, job.labels_N[rows])


def head_loss(model: Any, job: Workload, weight_EE: Tensor) -> Loss:
    """A residual linear head on the frozen tower, which runs again on every batch, as published releases do."""

    def loss(rows: Tensor) -> Tensor:
        with torch.no_grad():
            images = embed(model, job.pixels_N3HW[rows])
        return classify(model, images + images @ weight_EE.T, job.texts_CE, job.labels_N[rows])

    return loss


def prompt_loss(model: Any, job: Workload, ids_CT: Tensor, context_LD: Tensor) -> Loss:
    """CoOp (Zhou et al. 2022): context vectors in the class prompts; the frozen image tower runs on every batch."""

    def loss(rows: Tensor) -> Tensor:
        with torch.no_grad():
            images = embed(model, job.pixels_N3HW[rows])
        texts = F.normalize(embed_prompts(model, ids_CT, context_LD), dim=-1)
        return classify(model, images, texts, job.labels_N[rows])

    return loss


def embed_prompts(model: Any, ids_CT: Tensor, context_LD: Tensor) -> Tensor:
    """Class prompts ``[start] v_1 ... v_L [name] [end]`` as embeddings ``[C, E]``, not normalised."""
    tower = model.text_model
    words = tower.embeddings.token_embedding(ids_CT)
    context = context_LD.expand(len(ids_CT), *context_LD.shape)
    joined = torch.cat([words[:, :1], context, words[:, 1:]], dim=1)[:, : tower.config.max_position_embeddings]
    hidden = tower.embeddings(inputs_embeds=joined)
    for layer in tower.encoder.layers:
        hidden = layer(hidden, None, is_causal=True)
    ends = (ids_CT == tower.config.eos_token_id).int().argmax(1) + len(context_LD)
    pooled = tower.final_layer_norm(hidden[torch.arange(len(ids_CT)), ends])
    embedding: Tensor = model.text_projection(pooled)
    return embedding


def train(parameters: Sequence[nn.Parameter], loss: Loss, rows: Tensor, lr: float, batch_size: int) -> float:
    """One pass of a fresh AdamW over ``rows``; the mean loss over steps.

    ``fused`` is the fastest of torch's AdamW implementations here; the weight decay is zero.
    """
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0, fused=True)
    losses = []
    for batch in rows.split(batch_size):
        optimizer.zero_grad(set_to_none=True)
        value = loss(batch)
        value.backward()
        optimizer.step()
        losses.append(value.detach())
    return float(torch.stack(losses).mean())


@torch.no_grad()
def put(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    """Overwrite parameters by name."""
    for name, parameter in parameters.items():
        parameter.copy_(values[name])


def fedavg_round(
    parameters: Mapping[str, nn.Parameter], loss: Loss, shared: Mapping[str, Tensor], job: Workload, round_: int
) -> dict[str, Tensor]:
    """One round of FedAvg over all clients, one after another: the new shared tensors."""
    total = {name: torch.zeros_like(tensor) for name, tensor in shared.items()}
    for client in range(job.clients):
        rows = job.rows(round_, client)
        put(parameters, shared)
        train(list(parameters.values()), loss, rows, job.lr, job.batch_size)
        for name, parameter in parameters.items():
            total[name].add_(parameter.detach(), alpha=len(rows) / job.offsets[-1])
    return total
