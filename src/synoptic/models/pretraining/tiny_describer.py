"""Pre-training of the embedded `tiny-describer`: `tiny-vlm` taught to describe pictures, at any length and in any form.

It is a policy to align: it describes what it sees rightly, in short or at length, plainly or with care, each as
likely, so that what people prefer is left to be learned. Only the decoder and the connector learn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from synoptic.core.seeds import numpy_generator
from synoptic.data import pairs
from synoptic.models.load import base_folder
from synoptic.models.pretraining.loop import Phase, Progress, optimise
from synoptic.models.pretraining.packing import answer_loss, pack, patches

FROM = "tiny-vlm"


@dataclass(frozen=True)
class TinyDescriber:
    """Settings that train in minutes on one core; the sizes are those of `tiny-vlm`."""

    origin: ClassVar[str] = "all of `tiny-vlm`"
    diet: ClassVar[tuple[str, ...]] = (
        "Trained on generated pictures in all eight styles and four fifths of the (colour, shape) pairs, asked for a",
        "description in every way of asking. A description states one to four facts, all of them true, in a few words,",
        "in a sentence or with hedges. It has unlearned to answer other questions. No real image.",
    )
    """What the card says about where it started and what it saw."""

    steps: int = 1280
    batch: int = 32  # pictures per step
    each: int = 4  # descriptions a picture
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: int = 50


def batches(spec: TinyDescriber, steps: int, seed: int) -> Iterator[tuple[NDArray[np.uint8], list[str], list[str]]]:
    """Pictures, requests and descriptions; batch i depends on (seed, i) only."""
    for step in range(steps):
        rng = numpy_generator(seed, "tiny-describer", "batch", step)
        yield pairs.descriptions(rng, spec.batch, spec.each)


def train(folder: Path, spec: TinyDescriber, seed: int, progress: Progress | None) -> None:
    """Train and write; see `synoptic.models.pretraining.pretrain`."""
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    start = base_folder(FROM)
    model = LlavaForConditionalGeneration.from_pretrained(start, local_files_only=True).train()
    processor = AutoProcessor.from_pretrained(start, local_files_only=True)
    model.model.vision_tower.requires_grad_(False)
    tokens = patches(model.config.vision_config)

    def loss(batch: tuple[NDArray[np.uint8], list[str], list[str]]) -> Tensor:
        images, asked, said = batch
        return answer_loss(model, images, pack(processor.tokenizer, asked, said, tokens, spec.each))

    phase = Phase(spec.steps, spec.warmup, spec.lr, spec.weight_decay)
    optimise(model, phase, batches(spec, spec.steps, seed), loss, progress)
    folder.mkdir(parents=True, exist_ok=True)
    for part in (model, processor):
        part.save_pretrained(folder)
