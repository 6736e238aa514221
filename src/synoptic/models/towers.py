"""The two towers of a dual encoder, cut open between blocks, so that what is frozen is computed once.

A tower is ``embed`` (inputs -> hidden states at depth 0), ``run`` (blocks start..stop) and ``finish`` (the rest,
pooling and projection). Depth ``d`` means "the hidden states that enter block d"; depth ``len(blocks)`` enters the
pooling. The modules are Hugging Face's own; only the order of the calls is ours, and a test holds it equal to theirs.

Legend: N rows, T tokens, D width, E joint dimension.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synoptic.core import SynopticError


@dataclass(frozen=True)
class Tokens:
    """Tokenised texts: ``ids [N, T]`` and the position ``[N]`` whose final state stands for the text."""

    ids_NT: Tensor
    pool_N: Tensor


class VisionTower:
    """Image tower of CLIP or SigLIP."""

    name = "vision"

    def __init__(self, model: Any) -> None:
        self._model = model.vision_model
        self._projection: nn.Module = getattr(model, "visual_projection", nn.Identity())
        self._norm_first: nn.Module = getattr(self._model, "pre_layrnorm", nn.Identity())
        self._pooling = getattr(self._model, "head", None)
        self.blocks = [f"vision_model.encoder.layers.{i}" for i in range(len(self._model.encoder.layers))]
        self.pooling_block = "vision_model.head" if self._pooling is not None else None
        self.width: int = self._model.config.hidden_size

    def embed(self, pixels: Tensor) -> Tensor:
        """Pixels ``[N, 3, H, W]`` to hidden states ``[N, T, D]`` at depth 0."""
        hidden: Tensor = self._norm_first(self._model.embeddings(pixels))
        return hidden

    def run(self, hidden_NTD: Tensor, start: int, stop: int | None = None) -> Tensor:
        """Blocks ``start`` up to ``stop`` (exclusive; the end when left out)."""
        for layer in self._model.encoder.layers[start:stop]:
            hidden_NTD = layer(hidden_NTD, None)
        return hidden_NTD

    def finish(self, hidden_NTD: Tensor, start: int) -> Tensor:
        """Blocks from ``start`` on, pooling and projection: ``[N, E]``, not normalised."""
        if self._pooling is not None:
            pooled: Tensor = self._pooling(self._model.post_layernorm(self.run(hidden_NTD, start)))
            return pooled
        if start < len(self.blocks):
            last = len(self.blocks) - 1
            hidden_NTD = self.run(hidden_NTD, start, last)
            first_ND = pooled_block(self._model.encoder.layers[last], hidden_NTD, hidden_NTD[:, :1], None)
        else:
            first_ND = hidden_NTD[:, 0]
        projected: Tensor = self._projection(self._model.post_layernorm(first_ND))
        return projected

    def states(self, hidden_NTD: Tensor, start: int) -> Tensor:
        """Blocks from ``start`` on and the projection of every token: ``[N, T, E]``; patches come last."""
        projected: Tensor = self._projection(self._model.post_layernorm(self.run(hidden_NTD, start)))
        return projected

    def insert_prompt(self, hidden_NTD: Tensor, prompt_KLD: Tensor) -> Tensor:
        """Append each client's prompt vectors to its rows (client-major), after the position embeddings."""
        rows = hidden_NTD.shape[0] // prompt_KLD.shape[0]
        return torch.cat([hidden_NTD, prompt_KLD.repeat_interleave(rows, dim=0).to(hidden_NTD.dtype)], dim=1)


class TextTower:
    """Text tower of CLIP (causal, pooled at the end token) or SigLIP (bidirectional, pooled at the last position)."""

    name = "text"
    pooling_block = None

    def __init__(self, model: Any) -> None:
        self._model = model.text_model
        self.causal = hasattr(model, "text_projection")
        self._projection: nn.Module = model.text_projection if self.causal else self._model.head
        self.blocks = [f"text_model.encoder.layers.{i}" for i in range(len(self._model.encoder.layers))]
        self.width: int = self._model.config.hidden_size
        self.length: int = self._model.config.max_position_embeddings

    def tokens(self, ids_NT: Tensor) -> Tokens:
        """Where each text is pooled; `transformers` decides by the end token, or the highest id in old CLIP configs."""
        if not self.causal:
            return Tokens(ids_NT, torch.full((ids_NT.shape[0],), ids_NT.shape[1] - 1, device=ids_NT.device))
        end = self._model.config.eos_token_id
        return Tokens(ids_NT, ids_NT.argmax(1) if end == 2 else (ids_NT == end).int().argmax(1))

    def embed(self, tokens: Tokens) -> Tensor:
        """Token and position embeddings ``[N, T, D]``."""
        hidden: Tensor = self._model.embeddings(input_ids=tokens.ids_NT)
        return hidden

    def embed_with_prompt(self, tokens: Tokens, prompt_KLD: Tensor) -> tuple[Tensor, Tensor]:
        """Insert each client's context after the start token (CLIP) or at the front (SigLIP): CoOp's layout.

        Returns:
            Hidden states ``[K * N, T', D]``, client-major, and pooled positions ``[K * N]``. Sequences grow by the
            prompt's length up to the tower's limit; padding falls off the end.

        Raises:
            SynopticError: a text whose end token would fall off the end too.
        """
        clients, length, _ = prompt_KLD.shape
        words_NTD = self._model.embeddings.token_embedding(tokens.ids_NT)
        texts = words_NTD.shape[0]
        longest = int(tokens.pool_N.max()) + 1
        if self.causal and longest + length > self.length:
            raise SynopticError(f"a text of {longest} tokens leaves no room for a prompt of {length} in {self.length}",
                                "shorten the texts or the prompt")  # fmt: skip
        start = 1 if self.causal else 0
        rows = words_NTD.unsqueeze(0).expand(clients, *words_NTD.shape)
        prompt = prompt_KLD.unsqueeze(1).expand(clients, texts, length, -1).to(words_NTD.dtype)
        joined = torch.cat([rows[:, :, :start], prompt, rows[:, :, start:]], dim=2).flatten(0, 1)[:, : self.length]
        hidden = self._model.embeddings(inputs_embeds=joined)
        pool = tokens.pool_N + length if self.causal else torch.full_like(tokens.pool_N, joined.shape[1] - 1)
        return hidden, pool.repeat(clients)

    def run(self, hidden_NTD: Tensor, start: int, stop: int | None = None) -> Tensor:
        """Blocks ``start`` up to ``stop`` (exclusive; the end when left out)."""
        extra = {"is_causal": True} if self.causal else {}
        for layer in self._model.encoder.layers[start:stop]:
            hidden_NTD = layer(hidden_NTD, None, **extra)
        return hidden_NTD

    def finish(self, hidden_NTD: Tensor, pool_N: Tensor, start: int) -> Tensor:
        """Blocks from ``start`` on, pooling at ``pool_N`` and projection: ``[N, E]``, not normalised."""
        rows = torch.arange(hidden_NTD.shape[0], device=hidden_NTD.device)
        if start < len(self.blocks):
            last = len(self.blocks) - 1
            hidden_NTD = self.run(hidden_NTD, start, last)
            seen_NT = torch.arange(hidden_NTD.shape[1], device=hidden_NTD.device) <= pool_N[:, None]
            pooled_N1D = hidden_NTD[rows, pool_N].unsqueeze(1)
            mask = seen_NT[:, None, None] if self.causal else None
            pooled_ND = pooled_block(self._model.encoder.layers[last], hidden_NTD, pooled_N1D, mask)
        else:
            pooled_ND = hidden_NTD[rows, pool_N]
        projected: Tensor = self._projection(self._model.final_layer_norm(pooled_ND))
        return projected

    def states(self, hidden_NTD: Tensor, start: int) -> Tensor:
        """Blocks from ``start`` on and the projection of every token: ``[N, T, E]``."""
        projected: Tensor = self._projection(self._model.final_layer_norm(self.run(hidden_NTD, start)))
        return projected


def pooled_block(layer: Any, hidden_NTD: Tensor, pooled_N1D: Tensor, mask: Tensor | None) -> Tensor:
    """The last block, for the pooled token only: ``[N, D]``.

    Nobody reads the other tokens' outputs, so only their keys and values are computed: exact, and about three quarters
    of the block's work less.

    Args:
        layer: a CLIP or SigLIP encoder layer.
        hidden_NTD: what enters the block.
        pooled_N1D: the pooled token's row of it.
        mask: which keys the pooled token may see, ``[N, 1, 1, T]`` bool; None is all.
    """
    attention = layer.self_attn
    normed = layer.layer_norm1(hidden_NTD)
    query = attention.q_proj(layer.layer_norm1(pooled_N1D))
    q, k, v = (
        t.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for t in (query, attention.k_proj(normed), attention.v_proj(normed))
    )
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=attention.scale)
    pooled_N1D = pooled_N1D + attention.out_proj(mixed.transpose(1, 2).flatten(2))
    result: Tensor = pooled_N1D + layer.mlp(layer.layer_norm2(pooled_N1D))
    return result[:, 0]
