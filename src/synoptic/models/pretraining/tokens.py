"""Tokenizer and image processor of the embedded models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

START, PAD, END = "<start>", "<pad>", "<end>"


def word_tokenizer(
    words: Iterable[str], size: int, length: int, special: tuple[str, ...] = (), frame: str | None = None
) -> Any:
    """A lower-case byte-level BPE tokenizer in which every given word is one token; any other falls into pieces.

    The end token has the highest id, because ``transformers`` pools old CLIP texts at the highest id.

    Args:
        words: and marks, of the embedded vocabularies.
        size: at most so many tokens.
        length: the longest text a model takes, in tokens.
        special: more special tokens, beside padding, start and end.
        frame: a template such as ``"<start> $A <end>"`` for what is put around a text; none: nothing is.

    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size - 1, special_tokens=[PAD, START, *special], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())  # fmt: skip
    tokenizer.train_from_iterator([f" {word}" for word in sorted(words) for _ in range(2)], trainer)
    tokenizer.add_special_tokens([END])
    if frame is not None:
        ids = {token: tokenizer.token_to_id(token) for token in (START, PAD, END)}
        tokenizer.post_processor = processors.TemplateProcessing(
            single=frame, special_tokens=[(START, ids[START]), (END, ids[END])]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=START, eos_token=END, pad_token=PAD,
                                   unk_token=END, model_max_length=length)  # fmt: skip


def picture_processor(size: int) -> Any:
    """Resize, centre crop, and values to -1..1."""
    from transformers import CLIPImageProcessorPil

    return CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size},
                                 image_mean=[0.5] * 3, image_std=[0.5] * 3)  # fmt: skip


def to_pixels(images: NDArray[np.uint8]) -> Tensor:
    """What the processor makes of pictures of the right size, uint8 [n, s, s, 3] -> float32 [n, 3, s, s] in -1..1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
