"""The language decoder, cut open between blocks, so that what is frozen is computed once.

Depth ``d`` means "the hidden states that enter block d". The modules are Hugging Face's own; only the order of the
calls is ours, and `Decoder.check` holds it equal to theirs whenever a model is loaded. Rows are padded on the right: a
causal decoder never looks there, so no mask is needed.

Legend: N rows, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synoptic.core import SynopticError

TOLERANCE = 1e-4
"""Relative difference from the library's own forward pass up to which a decoder counts as cut open correctly."""


class Decoder:
    """A causal decoder of the Llama kind: rotary positions, blocks one after the other, a norm, a linear head.

    Args:
        text: the decoder without its head.
        head: hidden states to logits.
        path: where ``text`` lies in the whole model.

    Attributes:
        short: whether the last block may be computed for chosen places only; `check` finds out.
    """

    name = "text"

    def __init__(self, text: Any, head: nn.Module, path: str) -> None:
        self.text = text
        self.head = head
        self.blocks = [f"{path}.layers.{i}" for i in range(len(text.layers))]
        config = text.config
        self.width: int = config.hidden_size
        self.short = False
        # The library masks beyond a sliding window by the length of a batch; up to the window nothing is masked.
        windows = [config.max_position_embeddings, getattr(config, "sliding_window", None)]
        self.length: int = min(size for size in windows if size is not None)

    def run(
        self, hidden_NTD: Tensor, positions: Tensor, start: int = 0, stop: int | None = None,
        mask: Tensor | None = None, cache: Any = None,
    ) -> Tensor:  # fmt: skip
        """Blocks ``start`` up to ``stop`` (exclusive; the end when left out).

        Args:
            hidden_NTD: what enters block ``start``.
            positions: ``[1 or N, T]``, or ``[3, N, T]`` where the family has positions in three directions.
            start: first block.
            stop: where to stop.
            mask: what each token sees, ``[N, 1, T, keys]`` bool; causal when left out.
            cache: keys and values of earlier tokens, as the library's blocks ask for them.
        """
        layers = self.text.layers[start:stop]
        if not len(layers):
            return hidden_NTD
        rotary = self.text.rotary_emb(hidden_NTD, positions)
        for layer in layers:
            hidden_NTD = layer(hidden_NTD, attention_mask=mask, position_embeddings=rotary, past_key_values=cache)
        return hidden_NTD

    def finish(
        self, hidden_NTD: Tensor, positions: Tensor, start: int, chosen_NA: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Blocks from ``start`` on, for what is read of them alone: ``[N, A, D]`` at the places ``chosen_NA``.

        ``mask`` is what each token sees, ``[N, 1, T, T]`` bool; causal when left out.
        """
        if not self.short or start == len(self.blocks):
            hidden_NTD = self.run(hidden_NTD, positions, start, mask=mask)
            return hidden_NTD.gather(1, chosen_NA[..., None].expand(-1, -1, self.width))
        hidden_NTD = self.run(hidden_NTD, positions, start, len(self.blocks) - 1, mask)
        rotary = self.text.rotary_emb(hidden_NTD, positions)
        return chosen_block(self.text.layers[-1], hidden_NTD, rotary, chosen_NA, mask)

    def embed(self, ids_NT: Tensor) -> Tensor:
        """Word embeddings ``[N, T, D]``."""
        words: Tensor = self.text.embed_tokens(ids_NT)
        return words

    def norm(self, hidden: Tensor) -> Tensor:
        """What the head reads."""
        normed: Tensor = self.text.norm(hidden)
        return normed

    @torch.no_grad()
    def check(self, name: str) -> None:
        """Compare with the library's own forward pass on a few random inputs.

        Raises:
            SynopticError: another kind of decoder.
        """
        inputs = torch.randn(2, 5, self.width, generator=torch.Generator().manual_seed(0)).to(self.text.device)
        theirs = self.text(inputs_embeds=inputs).last_hidden_state
        positions = torch.arange(5, device=inputs.device).expand(3, 2, 5) if self._in_three else torch.arange(5)[None]
        places = torch.tensor([[1, 4], [3, 2]], device=inputs.device)
        tolerance = TOLERANCE * float(theirs.abs().max())

        def agrees(some: Callable[[], Tensor], expected: Tensor) -> bool:
            try:
                return torch.allclose(self.norm(some()), expected, atol=tolerance)
            except (AttributeError, TypeError, RuntimeError):
                return False

        chosen = theirs.gather(1, places[..., None].expand(-1, -1, self.width))
        if not agrees(lambda: self.run(inputs, positions.to(inputs.device)), theirs):
            raise SynopticError(f"'{name}' has a {self.text.config.model_type} decoder, which Synoptic cannot cut open",
                                "use a model with a decoder such as Llama, Mistral, Qwen2 or Qwen3")  # fmt: skip
        self.short = True
        self.short = agrees(lambda: self.finish(inputs, positions.to(inputs.device), 0, places), chosen)

    @property
    def _in_three(self) -> bool:
        return "mrope_section" in (getattr(self.text.config, "rope_parameters", None) or {})


def chosen_block(
    layer: Any, hidden_NTD: Tensor, rotary: tuple[Tensor, Tensor], chosen_NA: Tensor, mask: Tensor | None = None
) -> Tensor:
    """The last block, for chosen places only: ``[N, A, D]``.

    Nobody reads the other places' outputs, so only their keys and values are computed: exact, and most of a block's
    work less where answers are short.

    Args:
        layer: a block of the Llama kind.
        hidden_NTD: what enters it.
        rotary: cosines and sines of all places, ``[1 or N, T, head width]``.
        chosen_NA: the places.
        mask: what each token sees, ``[N, 1, T, T]`` bool; causal when left out.
    """
    attention = layer.self_attn
    chosen_NAD = hidden_NTD.gather(1, chosen_NA[..., None].expand(-1, -1, hidden_NTD.shape[-1]))
    around = tuple(part.expand(len(hidden_NTD), -1, -1) for part in rotary)
    there = tuple(part.gather(1, chosen_NA[..., None].expand(-1, -1, part.shape[-1])) for part in around)
    normed_NTD = layer.input_layernorm(hidden_NTD)
    q, k, v = (
        linear(x).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
        for linear, x in ((attention.q_proj, layer.input_layernorm(chosen_NAD)), (attention.k_proj, normed_NTD),
                          (attention.v_proj, normed_NTD))
    )  # fmt: skip
    if hasattr(attention, "q_norm"):
        q, k = attention.q_norm(q), attention.k_norm(k)
    q, k = rotated(q, *there), rotated(k, *rotary)
    if q.shape[1] != k.shape[1]:
        k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for x in (k, v))
    if mask is None:
        seen_NAT = torch.arange(hidden_NTD.shape[1], device=hidden_NTD.device) <= chosen_NA[..., None]
    else:
        seen_NAT = mask[:, 0].gather(1, chosen_NA[..., None].expand(-1, -1, mask.shape[-1]))
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen_NAT[:, None], scale=attention.scaling)
    chosen_NAD = chosen_NAD + attention.o_proj(mixed.transpose(1, 2).flatten(2))
    result: Tensor = chosen_NAD + layer.mlp(layer.post_attention_layernorm(chosen_NAD))
    return result


def rotated(x_NHTW: Tensor, cos_NTW: Tensor, sin_NTW: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021): halves of each head turned against each other."""
    left, right = x_NHTW.chunk(2, dim=-1)
    return x_NHTW * cos_NTW[:, None] + torch.cat([-right, left], dim=-1) * sin_NTW[:, None]
