"""The card of an embedded checkpoint: what it was trained on, and what it can do before any tuning, as measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Final

import torch

from synoptic.core.files import write_text
from synoptic.models import card_answers, card_classes, card_descriptions
from synoptic.models.load import load_model
from synoptic.models.pretraining import Spec, TinyClip, TinyDescriber, TinyVlm, one_thread

Lines = list[str]

_LLAVA: Final = "A LLaVA (vision tower, connector and Llama decoder)"
_SECTIONS: Final[dict[type, tuple[str, Callable[..., Lines]]]] = {
    TinyClip: ("A CLIP", card_classes.lines),
    TinyVlm: (_LLAVA, card_answers.lines),
    TinyDescriber: (_LLAVA, card_descriptions.lines),
}


def write_card(folder: Path, spec: Spec, seed: int) -> str:
    """Measure the checkpoint in ``folder`` and write its ``README.md``; returns the text."""
    what, section = _SECTIONS[type(spec)]
    with torch.no_grad(), one_thread():
        model = load_model(str(folder))
        measured = section(model)
    size = model.model.config.vision_config.image_size
    lines = [
        f"# {folder.name}",
        "",
        f"{what} of {sum(weights.numel() for weights in model.model.parameters()):,} parameters for "
        f"{size} x {size} pictures, trained from {spec.origin} by",
        f"`synoptic pretrain {folder.name} --seed {seed}`.",
        "It exists so that every command runs on a laptop, offline; it is no model of the real world.",
        "",
        *spec.diet,
        "",
        f"Fingerprint `{model.fingerprint}`.",
        "Settings: " + ", ".join(f"{key} {value}" for key, value in asdict(spec).items()) + ".",
        "",
        *measured,
        "",
    ]  # fmt: skip
    text = "\n".join(lines)
    write_text(folder / "README.md", text)
    return text
