"""`DualEncoder`: a frozen CLIP-like base, worn with a stack of adapters.

Legend: K clients, N = K * B rows (client-major), C texts, T tokens, D width, E joint dimension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL.Image import Image
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.sites import Site, find_sites, init_lora
from synoptic.adapters.spec import AdapterSpec, LoraSpec, TowerSpec
from synoptic.adapters.stack import adapter
from synoptic.core import SynopticError
from synoptic.core.seeds import generator
from synoptic.models.frozen import READY, Depth, FrozenBase, lora_entry, names_of
from synoptic.models.preprocess import Preprocess
from synoptic.models.towers import TextTower, Tokens, VisionTower

__all__ = ["READY", "Depth", "DualEncoder"]


class DualEncoder(FrozenBase):
    """A frozen dual encoder. The modules never change; what is trained is worn from outside.

    Args:
        model: a Hugging Face ``CLIPModel`` or ``SiglipModel``.
        tokenizer: its tokenizer.
        preprocess: its image preprocessing.
        fingerprint: hash of weights and configuration.
        name: what the user called it.
    """

    def __init__(self, model: Any, tokenizer: Any, preprocess: Preprocess, fingerprint: str, name: str) -> None:
        super().__init__(model, tokenizer, fingerprint, name)
        self.preprocess = preprocess
        self.vision = VisionTower(model)
        self.text = TextTower(model)
        self.logit_scale = float(model.logit_scale.float().exp())
        self.logit_bias = float(model.logit_bias.float()) if hasattr(model, "logit_bias") else 0.0
        self.dim: int = self.text_prefix(self.tokenize(["a"]), READY).shape[-1]

    # -- adapters ---------------------------------------------------------------------------------------------------

    def new_adapter(self, spec: AdapterSpec, seed: int) -> TensorDict:
        """A fresh adapter whose update is zero (LoRA B and heads are zero, prompts are small).

        Raises:
            SynopticError: layers, targets or a rank that this base does not have; or nothing to train at all.
        """
        if not spec.connector.frozen:
            raise SynopticError(f"{self.name} is a dual encoder and has no connector between its towers",
                                "leave adapter.connector out, or use a model that answers questions")  # fmt: skip
        tensors: dict[str, Tensor] = {}
        for tower, chosen in ((self.vision, spec.vision), (self.text, spec.text)):
            rng = generator(seed, "adapter", tower.name)
            if chosen.lora is not None:
                tensors |= init_lora(tower.name, self.sites(tower.name, chosen.lora), chosen.lora, rng)
            tensors |= self._prompt_and_head(tower, chosen, rng)
        if not tensors:
            raise SynopticError("the adapter trains nothing: both towers are frozen",
                                "set adapter.vision or adapter.text to lora, prompt or head")  # fmt: skip
        return adapter(tensors)

    def sites(self, tower: str, spec: LoraSpec) -> list[Site]:
        """The LoRA sites of one tower."""
        here = self.vision if tower == "vision" else self.text
        sites = find_sites(self.model, here.blocks, spec)
        if spec.pooling and here.pooling_block is not None:
            sites += find_sites(self.model, [here.pooling_block], spec.model_copy(update={"layers": "all"}))
        return sites

    def _prompt_and_head(
        self, tower: VisionTower | TextTower, spec: TowerSpec, rng: torch.Generator
    ) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        if spec.prompt is not None:
            shape = (spec.prompt.length, tower.width)
            tensors[f"{tower.name}/prompt/context"] = torch.randn(shape, generator=rng) * 0.02
        if spec.head:
            tensors[f"{tower.name}/head/weight"] = torch.zeros(self.dim, self.dim)
        return tensors

    def entry(self, stack: TensorDict | Mapping[str, Tensor], tower: str) -> Depth:
        """Depth at which a tower stops being frozen under this stack: everything below can be computed once."""
        names = names_of(stack, tower)
        if any("/prompt/" in name for name in names):
            return 0
        depth = lora_entry(names, (self.vision if tower == "vision" else self.text).blocks)
        return READY if depth is None else depth

    # -- images -----------------------------------------------------------------------------------------------------

    def pixels(self, images: Sequence[Image] | NDArray[Any]) -> Tensor:
        """Preprocessed pixels ``[N, 3, H, W]``."""
        return self.preprocess(images).to(self.device)

    @torch.no_grad()
    def image_prefix(self, pixels: Tensor, depth: Depth) -> Tensor:
        """What the frozen part computes: hidden states at ``depth`` ``[N, T, D]``, or the embedding ``[N, E]``."""
        with self.binding.wearing({}), self.precision():
            hidden = self.vision.embed(pixels)
            if depth == READY:
                return self.vision.finish(hidden, 0).float()
            return self.vision.run(hidden, 0, int(depth)).float()

    def image_suffix(self, prefix: Tensor, depth: Depth) -> Tensor:
        """From hidden states at ``depth`` to normalised embeddings ``[N, E]``, wearing whatever is worn."""
        return F.normalize(self.image_latent(prefix, depth), dim=-1)

    def image_latent(self, prefix: Tensor, depth: Depth) -> Tensor:
        """As `image_suffix`, before normalisation."""
        if depth == READY:
            z = prefix
        else:
            with self.precision():
                prompt = self._worn.get("vision/prompt/context")
                hidden = self.vision.insert_prompt(prefix, prompt) if prompt is not None else prefix
                z = self.vision.finish(hidden, int(depth)).float()
        return self._head("vision", z)

    # -- texts ------------------------------------------------------------------------------------------------------

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Token ids, padded to the longest text (CLIP) or to the tower's length (SigLIP); longer texts are cut."""
        padding = "longest" if self.text.causal else "max_length"
        ids = self.tokenizer(list(texts), padding=padding, truncation=True, max_length=self.text.length,
                             return_tensors="pt")["input_ids"]  # fmt: skip
        return self.text.tokens(ids.to(self.device))

    @torch.no_grad()
    def text_prefix(self, tokens: Tokens, depth: Depth) -> Tensor:
        """What the frozen part computes for texts: ``[C, T, D]`` at ``depth``, or ``[C, E]``."""
        with self.binding.wearing({}), self.precision():
            hidden = self.text.embed(tokens)
            if depth == READY:
                return self.text.finish(hidden, tokens.pool_N, 0).float()
            return self.text.run(hidden, 0, int(depth)).float()

    def text_suffix(self, tokens: Tokens, prefix: Tensor, depth: Depth, clients: int) -> Tensor:
        """Normalised text embeddings ``[K, C, E]``; ``[1, C, E]`` when nothing worn concerns texts."""
        if depth == READY and "text/head/weight" not in self._worn:
            return F.normalize(prefix, dim=-1).unsqueeze(0)
        count = prefix.shape[0]
        if depth == READY:
            z = prefix.repeat(clients, 1)
        else:
            with self.precision():
                prompt = self._worn.get("text/prompt/context")
                if prompt is not None:
                    hidden, pool = self.text.embed_with_prompt(tokens, prompt)
                else:
                    hidden, pool = prefix.repeat(clients, 1, 1), tokens.pool_N.repeat(clients)
                z = self.text.finish(hidden, pool, int(depth)).float()
        return F.normalize(self._head("text", z), dim=-1).view(clients, count, -1)

    def text_rows(self, tokens: Tokens, prefix: Tensor, depth: Depth) -> Tensor:
        """Normalised embeddings ``[N, E]`` of client-major texts, each client's own ones, wearing whatever is worn.

        Raises:
            SynopticError: a text prompt is worn, which is for texts that all clients share.
        """
        if "text/prompt/context" in self._worn:
            raise SynopticError("a text prompt is worn where every client has its own texts",
                                "adapt the text tower by lora or head")  # fmt: skip
        z = prefix
        if depth != READY:
            with self.precision():
                z = self.text.finish(prefix, tokens.pool_N, int(depth)).float()
        return F.normalize(self._head("text", z), dim=-1)

    # -- both -------------------------------------------------------------------------------------------------------

    def logits(self, image_KBE: Tensor, text_KCE: Tensor) -> Tensor:
        """Scaled similarities ``[K, B, C]`` of normalised embeddings; texts ``[1, C, E]`` serve every client."""
        return self.logit_scale * torch.matmul(image_KBE, text_KCE.mT) + self.logit_bias

    def _head(self, tower: str, z_NE: Tensor) -> Tensor:
        weight_KEE = self._worn.get(f"{tower}/head/weight")
        if weight_KEE is None:
            return z_NE
        rows = z_NE.view(weight_KEE.shape[0], -1, z_NE.shape[-1])
        return (rows + torch.bmm(rows, weight_KEE.mT)).view(z_NE.shape)
