"""Pre-training of the embedded `tiny-clip`: contrastive learning on generated pictures with their words.

Half of what it sees is the compositional world, the rest glyphs (digits and letters in many fonts). It never sees a
real image, two of the world's styles, or a fifth of its (colour, shape) pairs: those are left for the federation.

The loss is the symmetric contrastive one (Radford et al. 2021, Fig. 3), with equal captions in a batch counted as
positives of each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from synoptic.core.seeds import numpy_generator, stream_seed
from synoptic.data import glyphs, world
from synoptic.models.pretraining.loop import Progress, optimise
from synoptic.models.pretraining.tokens import END, START, picture_processor, to_pixels, word_tokenizer


@dataclass(frozen=True)
class TinyClip:
    """Sizes and settings that train in minutes on one core."""

    origin: ClassVar[str] = "nothing"
    diet: ClassVar[tuple[str, ...]] = (
        "Trained on generated pictures only: coloured, textured shapes in six of eight styles and four fifths of the",
        "(colour, shape) pairs, and digits and letters rendered in the fonts that come with matplotlib. No real image.",
    )
    """What the card says about where it started and what it saw."""

    image: int = 32
    patch: int = 8
    width: int = 128
    mlp: int = 256
    heads: int = 4
    vision_blocks: int = 4
    text_blocks: int = 2
    text_length: int = 32
    vocabulary: int = 512
    steps: int = 1500
    batch: int = 256
    glyph_share: float = 0.4
    lr: float = 1e-3
    weight_decay: float = 0.1
    warmup: int = 100


def contrastive_loss(logits_BB: Tensor, same_BB: Tensor) -> Tensor:
    """Symmetric cross-entropy; a row's target is shared evenly by its positives (``same``; the diagonal is one)."""
    target = same_BB / same_BB.sum(1, keepdim=True)
    rows = -(target * F.log_softmax(logits_BB, dim=1)).sum(1).mean()
    columns = -(target * F.log_softmax(logits_BB.T, dim=1)).sum(1).mean()
    return (rows + columns) / 2


def build_tokenizer(size: int, length: int) -> Any:
    """The words and marks of world and glyphs; a text stands between the start and the end token."""
    return word_tokenizer({*world.vocabulary(), *glyphs.vocabulary()}, size, length, frame=f"{START} $A {END}")


def build_model(spec: TinyClip, tokenizer: Any, seed: int) -> Any:
    """A randomly initialised Hugging Face ``CLIPModel``."""
    from transformers import CLIPConfig, CLIPModel

    block = {"hidden_size": spec.width, "intermediate_size": spec.mlp, "num_attention_heads": spec.heads}
    config = CLIPConfig(
        text_config={**block, "num_hidden_layers": spec.text_blocks, "vocab_size": len(tokenizer),
                     "max_position_embeddings": spec.text_length, "bos_token_id": tokenizer.bos_token_id,
                     "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id},
        vision_config={**block, "num_hidden_layers": spec.vision_blocks, "image_size": spec.image,
                       "patch_size": spec.patch},
        projection_dim=spec.width,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "tiny-clip", "init"))
        return CLIPModel(config)


def batches(spec: TinyClip, seed: int) -> Iterator[tuple[NDArray[np.uint8], list[str]]]:
    """Pictures and captions, world and glyphs in a fixed share; batch i depends on (seed, i) only."""
    of_glyphs = round(spec.batch * spec.glyph_share)
    for step in range(spec.steps):
        rng = numpy_generator(seed, "tiny-clip", "batch", step)
        left, words = world.pretraining_batch(rng, spec.batch - of_glyphs)
        right, more = glyphs.pretraining_batch(rng, of_glyphs)
        yield np.concatenate([left, right]), [*words, *more]


def train(folder: Path, spec: TinyClip, seed: int, progress: Progress | None) -> None:
    """Train and write; see `synoptic.models.pretraining.pretrain`."""
    tokenizer = build_tokenizer(spec.vocabulary, spec.text_length)
    model = build_model(spec, tokenizer, seed)

    def loss(batch: tuple[NDArray[np.uint8], list[str]]) -> Tensor:
        return _loss(model, tokenizer, *batch, spec.text_length)

    def cap() -> None:
        model.logit_scale.clamp_(max=math.log(100))

    optimise(model, spec, batches(spec, seed), loss, progress, cap)
    folder.mkdir(parents=True, exist_ok=True)
    for part in (model, tokenizer, picture_processor(spec.image)):
        part.save_pretrained(folder)


def _loss(model: Any, tokenizer: Any, images: NDArray[np.uint8], captions: list[str], length: int) -> Tensor:
    _, index = np.unique(captions, return_inverse=True)
    same = torch.from_numpy(index[:, None] == index[None, :]).float()
    tokens = tokenizer(captions, padding=True, truncation=True, max_length=length, return_tensors="pt")
    output = model(input_ids=tokens["input_ids"], pixel_values=to_pixels(images))
    return contrastive_loss(output.logits_per_image, same)
