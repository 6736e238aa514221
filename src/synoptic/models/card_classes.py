"""What a dual encoder can do before any tuning: zero-shot accuracy on the data that runs use by default."""

from __future__ import annotations

import numpy as np

from synoptic.data.federated import FederatedData, build
from synoptic.data.spec import DataSpec
from synoptic.models.dual_encoder import READY, DualEncoder

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


def lines(model: DualEncoder) -> list[str]:
    """The card's table."""
    return [
        "Zero-shot accuracy on the data that runs use by default (base and novel classes, each among its own kind):",
        "",
        "| data | classes | accuracy | chance |",
        "|---|---|---|---|",
        *(
            f"| {source} | {split} | {accuracy:.3f} | {chance:.3f} |"
            for source, split, accuracy, chance in scores(model)
        ),
    ]
