"""The card of an embedded checkpoint: what it was trained on, and what it can do before any tuning, as measured."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from synoptic.core.files import write_text
from synoptic.data.federated import FederatedData, build
from synoptic.data.spec import DataSpec
from synoptic.models.dual_encoder import READY, DualEncoder
from synoptic.models.load import load_dual_encoder
from synoptic.models.pretraining import TinyClip, one_thread

DRAWS = 3


def zero_shot(model: DualEncoder, data: FederatedData, split: str) -> float:
    """Accuracy of the untouched base on a pooled test set, among the split's own classes."""
    rows = data.tests[split]
    classes = data.novel_classes if split == "novel" else data.base_classes
    prompts = data.prompts()
    tokens = model.tokenize([prompts[index] for index in classes])
    texts = model.text_suffix(tokens, model.text_prefix(tokens, READY), READY, 1)[0]
    right = 0
    for start in range(0, len(rows), 256):
        some = rows[start : start + 256]
        images = model.image_suffix(model.image_prefix(model.pixels(data.test.images.load(some)), READY), READY)
        right += int((classes[(images @ texts.T).argmax(1).numpy()] == data.test.labels[some]).sum())
    return right / len(rows)


def scores(model: DualEncoder) -> list[tuple[str, str, float, float]]:
    """Rows (data, split, accuracy, chance) on the data that runs use by default; worlds are averaged over draws."""
    rows: list[tuple[str, str, float, float]] = []
    for source in ("digits", "world"):
        draws = [build(DataSpec(source=source, draw=draw), seed=0) for draw in range(DRAWS if source == "world" else 1)]
        for split in ("base", "novel"):
            accuracy = float(np.mean([zero_shot(model, data, split) for data in draws]))
            classes = draws[0].novel_classes if split == "novel" else draws[0].base_classes
            rows.append((source, split, accuracy, 1 / len(classes)))
    return rows


def write_card(folder: Path, spec: TinyClip, seed: int) -> str:
    """Measure the checkpoint in ``folder`` and write its ``README.md``; returns the text."""
    with torch.no_grad(), one_thread():
        model = load_dual_encoder(str(folder))
        table = scores(model)
    lines = [
        f"# {folder.name}",
        "",
        f"A CLIP of {sum(weights.numel() for weights in model.model.parameters()):,} parameters for "
        f"{spec.image} x {spec.image} pictures, trained from nothing by",
        f"`synoptic pretrain {folder.name} --seed {seed}`.",
        "It exists so that every command runs on a laptop, offline; it is no model of the real world.",
        "",
        "Trained on generated pictures only: coloured, textured shapes in six of eight styles and four fifths of the",
        "(colour, shape) pairs, and digits and letters rendered in the fonts that come with matplotlib. No real image.",
        "",
        f"Fingerprint `{model.fingerprint}`.",
        "Settings: " + ", ".join(f"{key} {value}" for key, value in asdict(spec).items()) + ".",
        "",
        "Zero-shot accuracy on the data that runs use by default (base and novel classes, each among its own kind):",
        "",
        "| data | classes | accuracy | chance |",
        "|---|---|---|---|",
        *(f"| {source} | {split} | {accuracy:.3f} | {chance:.3f} |" for source, split, accuracy, chance in table),
        "",
    ]  # fmt: skip
    text = "\n".join(lines)
    write_text(folder / "README.md", text)
    return text
