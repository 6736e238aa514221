"""Pre-training of the embedded `tiny-clip`: contrastive learning on generated pictures with their words.

Half of what it sees is the compositional world, the rest glyphs (digits and letters in many fonts). It never sees a
real image, two of the world's styles, or a fifth of its (colour, shape) pairs: those are left for the federation.

The loss is the symmetric contrastive one (Radford et al. 2021, Fig. 3), with equal captions in a batch counted as
positives of each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from synoptic.core.seeds import numpy_generator, stream_seed
from synoptic.data import glyphs, world

START, PAD, END = "<start>", "<pad>", "<end>"


@dataclass(frozen=True)
class TinyClip:
    """Sizes and settings that train in minutes on one core."""

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
    """A lower-case byte-level BPE tokenizer over the embedded vocabularies; any other word falls into pieces.

    The end token has the highest id, because ``transformers`` pools old CLIP texts at the highest id.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    words = sorted({*world.vocabulary(), *glyphs.vocabulary()})
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size - 1, special_tokens=[PAD, START], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())  # fmt: skip
    tokenizer.train_from_iterator([f" {word}" for word in words for _ in range(2)], trainer)
    tokenizer.add_special_tokens([END])
    ids = {token: tokenizer.token_to_id(token) for token in (START, PAD, END)}
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, ids[START]), (END, ids[END])]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=START, eos_token=END, pad_token=PAD,
                                   unk_token=END, model_max_length=length)  # fmt: skip


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


def build_processor(spec: TinyClip) -> Any:
    """Resize, centre crop, and values to -1..1."""
    from transformers import CLIPImageProcessorPil

    return CLIPImageProcessorPil(size={"shortest_edge": spec.image},
                                 crop_size={"height": spec.image, "width": spec.image},
                                 image_mean=[0.5] * 3, image_std=[0.5] * 3)  # fmt: skip


def batches(spec: TinyClip, seed: int) -> Iterator[tuple[NDArray[np.uint8], list[str]]]:
    """Pictures and captions, world and glyphs in a fixed share; batch i depends on (seed, i) only."""
    of_glyphs = round(spec.batch * spec.glyph_share)
    for step in range(spec.steps):
        rng = numpy_generator(seed, "tiny-clip", "batch", step)
        left, words = world.pretraining_batch(rng, spec.batch - of_glyphs)
        right, more = glyphs.pretraining_batch(rng, of_glyphs)
        yield np.concatenate([left, right]), [*words, *more]


def rate(spec: TinyClip, step: int) -> float:
    """Linear warm-up, then cosine to zero."""
    if step < spec.warmup:
        return spec.lr * (step + 1) / spec.warmup
    return spec.lr * 0.5 * (1 + math.cos(math.pi * (step - spec.warmup) / max(spec.steps - spec.warmup, 1)))


def pretrain(
    folder: Path, spec: TinyClip | None = None, seed: int = 0, progress: Callable[[int, float], None] | None = None
) -> Path:
    """Train `tiny-clip` and write it, tokenizer and processor included, as ``save_pretrained`` does.

    Args:
        folder: where to write.
        spec: sizes and settings; the shipped checkpoint's when left out.
        seed: of initial weights and pictures.
        progress: called with (step, loss) after every step.
    """
    spec = spec or TinyClip()
    with one_thread():
        _train(folder, spec, seed, progress)
    return folder


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread inside the block: the count changes float results, and a checkpoint must not depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(folder: Path, spec: TinyClip, seed: int, progress: Callable[[int, float], None] | None) -> None:
    tokenizer = build_tokenizer(spec.vocabulary, spec.text_length)
    model = build_model(spec, tokenizer, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=spec.lr, weight_decay=spec.weight_decay, betas=(0.9, 0.98))
    for step, (images, captions) in enumerate(batches(spec, seed)):
        for group in optimizer.param_groups:
            group["lr"] = rate(spec, step)
        loss = _loss(model, tokenizer, images, captions, spec.text_length)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(100))
        if progress is not None:
            progress(step, float(loss.detach()))
    folder.mkdir(parents=True, exist_ok=True)
    for part in (model, tokenizer, build_processor(spec)):
        part.save_pretrained(folder)


def _loss(model: Any, tokenizer: Any, images: NDArray[np.uint8], captions: list[str], length: int) -> Tensor:
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    _, index = np.unique(captions, return_inverse=True)
    same = torch.from_numpy(index[:, None] == index[None, :]).float()
    tokens = tokenizer(captions, padding=True, truncation=True, max_length=length, return_tensors="pt")
    output = model(input_ids=tokens["input_ids"], pixel_values=pixels)
    return contrastive_loss(output.logits_per_image, same)
