"""`DualEncoder`: a frozen CLIP-like base, worn with a stack of adapters.

Legend: K clients, N = K * B rows (client-major), C texts, T tokens, D width, E joint dimension.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL.Image import Image
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.binding import Binding
from synoptic.adapters.sites import Site, find_sites, init_lora
from synoptic.adapters.spec import AdapterSpec, LoraSpec, TowerSpec
from synoptic.adapters.stack import adapter, leaves
from synoptic.core import SynopticError
from synoptic.core.seeds import generator
from synoptic.models.preprocess import Preprocess
from synoptic.models.towers import TextTower, Tokens, VisionTower

READY = "ready"
"""The depth of an embedding: nothing of the tower is left to run."""

Depth = int | str


class DualEncoder:
    """A frozen dual encoder. The modules never change; what is trained is worn from outside.

    Args:
        model: a Hugging Face ``CLIPModel`` or ``SiglipModel``.
        tokenizer: its tokenizer.
        preprocess: its image preprocessing.
        fingerprint: hash of weights and configuration.
        name: what the user called it.
    """

    def __init__(self, model: Any, tokenizer: Any, preprocess: Preprocess, fingerprint: str, name: str) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.preprocess = preprocess
        self.fingerprint = fingerprint
        self.name = name
        self.vision = VisionTower(model)
        self.text = TextTower(model)
        self.binding = Binding(model)
        self.half = any(p.dtype == torch.bfloat16 for p in model.parameters())
        self.device = next(model.parameters()).device
        self.logit_scale = float(model.logit_scale.float().exp())
        self.logit_bias = float(model.logit_bias.float()) if hasattr(model, "logit_bias") else 0.0
        self._worn: Mapping[str, Tensor] = {}
        self.dim: int = self.text_prefix(self.tokenize(["a"]), READY).shape[-1]

    # -- adapters ---------------------------------------------------------------------------------------------------

    def new_adapter(self, spec: AdapterSpec, seed: int) -> TensorDict:
        """A fresh adapter whose update is zero (LoRA B and heads are zero, prompts are small).

        Raises:
            SynopticError: layers, targets or a rank that this base does not have; or nothing to train at all.
        """
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

    @contextmanager
    def wearing(self, stack: TensorDict | Mapping[str, Tensor]) -> Iterator[DualEncoder]:
        """Wear a stack ``[K]`` inside the block: image rows, and texts if their tower is adapted, are per client."""
        tensors = leaves(stack) if isinstance(stack, TensorDict) else stack
        before, self._worn = self._worn, tensors
        try:
            with self.binding.wearing(tensors):
                yield self
        finally:
            self._worn = before

    def entry(self, stack: TensorDict | Mapping[str, Tensor], tower: str) -> Depth:
        """Depth at which a tower stops being frozen under this stack: everything below can be computed once."""
        keys = [str(name) for name in stack.keys() if str(name).startswith(f"{tower}/")]  # noqa: SIM118
        if any("/prompt/" in key for key in keys):
            return 0
        here = self.vision if tower == "vision" else self.text
        blocks = {path: depth for depth, path in enumerate(here.blocks)}
        depths = [
            next((depth for path, depth in blocks.items() if f"/lora/{path}." in key), len(blocks))
            for key in keys
            if "/lora/" in key
        ]
        return min(depths, default=READY)

    # -- images -----------------------------------------------------------------------------------------------------

    def pixels(self, images: Sequence[Image] | NDArray[Any]) -> Tensor:
        """Preprocessed pixels ``[N, 3, H, W]``."""
        return self.preprocess(images).to(self.device)

    @torch.no_grad()
    def image_prefix(self, pixels: Tensor, depth: Depth) -> Tensor:
        """What the frozen part computes: hidden states at ``depth`` ``[N, T, D]``, or the embedding ``[N, E]``."""
        with self.binding.wearing({}), self._precision():
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
            with self._precision():
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
        with self.binding.wearing({}), self._precision():
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
            with self._precision():
                prompt = self._worn.get("text/prompt/context")
                if prompt is not None:
                    hidden, pool = self.text.embed_with_prompt(tokens, prompt)
                else:
                    hidden, pool = prefix.repeat(clients, 1, 1), tokens.pool_N.repeat(clients)
                z = self.text.finish(hidden, pool, int(depth)).float()
        return F.normalize(self._head("text", z), dim=-1).view(clients, count, -1)

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

    def _precision(self) -> Any:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.half)
