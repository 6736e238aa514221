"""Pre-training of the embedded models, each from a fixed seed, on generated pictures with their words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from synoptic.models.pretraining import tiny_clip, tiny_describer, tiny_vlm
from synoptic.models.pretraining.loop import Progress, one_thread, rate
from synoptic.models.pretraining.tiny_clip import TinyClip
from synoptic.models.pretraining.tiny_describer import TinyDescriber
from synoptic.models.pretraining.tiny_vlm import TinyVlm

__all__ = ["SPECS", "Spec", "TinyClip", "TinyDescriber", "TinyVlm", "one_thread", "pretrain", "rate"]

Spec = TinyClip | TinyVlm | TinyDescriber

SPECS: Final[dict[str, type[TinyClip] | type[TinyVlm] | type[TinyDescriber]]] = {
    "tiny-clip": TinyClip, "tiny-vlm": TinyVlm, "tiny-describer": TinyDescriber,
}  # fmt: skip
"""Settings of every embedded model; the defaults are the shipped checkpoint's."""

_TRAIN: Final[dict[type, Callable[..., None]]] = {
    TinyClip: tiny_clip.train, TinyVlm: tiny_vlm.train, TinyDescriber: tiny_describer.train,
}  # fmt: skip


def pretrain(folder: Path, spec: Spec | None = None, seed: int = 0, progress: Progress | None = None) -> Path:
    """Train an embedded model and write it, tokenizer and processor included, as ``save_pretrained`` does.

    Args:
        folder: where to write.
        spec: which model, its sizes and settings; the shipped `TinyClip` when left out.
        seed: of initial weights and pictures.
        progress: called with (step, loss) after every step.

    """
    spec = spec or TinyClip()
    with one_thread():
        _TRAIN[type(spec)](folder, spec, seed, progress)
    return folder
