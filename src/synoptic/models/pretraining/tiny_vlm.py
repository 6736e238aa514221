"""Pre-training of the embedded `tiny-vlm`: answering questions about generated pictures, token by token.

A LLaVA (Liu et al. 2023): a vision tower, a two-layer connector and a small Llama decoder. The tower starts as that
of `tiny-clip`, is taught to tell what its patches show, and is frozen; connector and decoder then learn to answer. Only
the answer counts in their loss. It never sees two of the world's styles, a fifth of its (colour, shape)
pairs, most ways of asking and nearly all ways of answering: those are left for the federation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synoptic.core.seeds import numpy_generator, stream_seed
from synoptic.data import questions
from synoptic.models.load import base_folder
from synoptic.models.pretraining.loop import Phase, Progress, optimise
from synoptic.models.pretraining.packing import ANSWER, IMAGE, answer_loss, pack, patches
from synoptic.models.pretraining.tokens import END, START, picture_processor, word_tokenizer
from synoptic.models.pretraining.tower import teach

TEMPLATE = (
    START + "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}" + IMAGE + "{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% if message['role'] == 'assistant' %}" + END + "{% elif not loop.last or add_generation_prompt %}"
    "" + ANSWER + "{% endif %}{% endfor %}"
)


@dataclass(frozen=True)
class TinyVlm:
    """Sizes and settings that train in minutes on one core; the vision tower has the sizes of `tiny-clip`."""

    origin: ClassVar[str] = "the vision tower of `tiny-clip`, all else from nothing,"
    diet: ClassVar[tuple[str, ...]] = (
        "Trained on generated pictures only, with questions, answers and captions: coloured, textured shapes in six of",
        "eight styles and four fifths of the (colour, shape) pairs, a few ways of asking and two of answering. No real",
        "image.",
    )
    """What the card says about where it started and what it saw."""

    width: int = 128
    mlp: int = 256
    heads: int = 4
    kv_heads: int = 2
    blocks: int = 4
    context: int = 64
    vocabulary: int = 1024
    steps: int = 3840
    looking: float = 0.5  # the share of the steps in which the tower learns
    pictures: int = 64  # per step of the tower
    tower_lr: float = 1e-3
    batch: int = 32  # pictures per step of the decoder
    each: int = 4  # questions a picture
    lr: float = 1.5e-3
    weight_decay: float = 0.05
    warmup: int = 50
    spread: float = 0.08  # of the decoder's first weights; the library's 0.02 is too small for so narrow a model

    def phases(self) -> tuple[Phase, Phase]:
        """The tower's and the decoder's part of the training."""
        looks = round(self.steps * self.looking)
        look = Phase(looks, self.warmup, self.tower_lr, self.weight_decay)
        return look, Phase(self.steps - looks, self.warmup, self.lr, self.weight_decay)


def build_tokenizer(size: int, length: int) -> Any:
    """The words and marks of questions, answers and captions; nothing is put around a text."""
    tokenizer = word_tokenizer(questions.vocabulary(), size, length, special=(IMAGE, ANSWER))
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def build_processor(tokenizer: Any, vision: Any) -> Any:
    """A ``LlavaProcessor``: pictures and chats of plain ``transformers``."""
    from transformers import LlavaProcessor

    return LlavaProcessor(
        picture_processor(vision.image_size), tokenizer, patch_size=vision.patch_size,
        vision_feature_select_strategy="default", image_token=IMAGE, num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )  # fmt: skip


def build_model(spec: TinyVlm, tokenizer: Any, seed: int) -> Any:
    """A ``LlavaForConditionalGeneration`` with the vision weights of `tiny-clip`, the rest random."""
    from transformers import CLIPModel, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    tower = CLIPModel.from_pretrained(base_folder("tiny-clip"), local_files_only=True).vision_model
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
           "pad_token_id": tokenizer.pad_token_id}  # fmt: skip
    text = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=spec.width, intermediate_size=spec.mlp, num_hidden_layers=spec.blocks,
        num_attention_heads=spec.heads, num_key_value_heads=spec.kv_heads, max_position_embeddings=spec.context,
        initializer_range=spec.spread, tie_word_embeddings=True, **ids,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=tower.config, text_config=text, image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        vision_feature_layer=-1, vision_feature_select_strategy="default", image_seq_length=patches(tower.config),
        tie_word_embeddings=True, **ids,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "tiny-vlm", "init"))
        model = LlavaForConditionalGeneration(config)
    model.model.vision_tower.load_state_dict(tower.state_dict())
    return model


def batches(spec: TinyVlm, steps: int, seed: int) -> Iterator[tuple[NDArray[np.uint8], list[str], list[str]]]:
    """Pictures, questions and answers; batch i depends on (seed, i) only."""
    for step in range(steps):
        rng = numpy_generator(seed, "tiny-vlm", "batch", step)
        yield questions.pretraining_dialogue(rng, spec.batch, spec.each)


def train(folder: Path, spec: TinyVlm, seed: int, progress: Progress | None) -> None:
    """Train and write; see `synoptic.models.pretraining.pretrain`."""
    tokenizer = build_tokenizer(spec.vocabulary, spec.context)
    model = build_model(spec, tokenizer, seed)
    vision = model.config.vision_config
    look, talk = spec.phases()
    teach(model.model.vision_tower, look, spec.pictures, seed, progress)
    model.model.vision_tower.requires_grad_(False)

    def loss(batch: tuple[NDArray[np.uint8], list[str], list[str]]) -> Tensor:
        images, asked, said = batch
        return answer_loss(model, images, pack(tokenizer, asked, said, patches(vision), spec.each))

    def later(step: int, value: float) -> None:
        if progress is not None:
            progress(look.steps + step, value)

    optimise(model, talk, batches(spec, talk.steps, seed), loss, later)
    folder.mkdir(parents=True, exist_ok=True)
    for part in (model, build_processor(tokenizer, vision)):
        part.save_pretrained(folder)
