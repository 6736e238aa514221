"""Teaching a vision tower to tell what is in a picture, at every patch, before a decoder has to read it from there.

A contrastive tower keeps what its class token needs; the patches, which a LLaVA shows to its decoder, say little about
shape and texture. Linear heads on every patch, dropped afterwards, change that in a fraction of a decoder's steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synoptic.core.seeds import numpy_generator, stream_seed
from synoptic.data import world
from synoptic.data.questions import VALUES, facts
from synoptic.models.pretraining.loop import Phase, Progress, optimise
from synoptic.models.pretraining.tokens import to_pixels

SIZES = [len(values) for values in VALUES.values()]


def naming_loss(logits_BPV: Tensor, facts_BF: Tensor) -> Tensor:
    """Cross-entropy of every fact at every patch, summed over facts, a scalar.

    Args:
        logits_BPV: V = all values of all facts, side by side; P patches.
        facts_BF: what is true, int64, in the order of `VALUES`.

    """
    patches = logits_BPV.shape[1]
    parts = logits_BPV.split(SIZES, dim=-1)
    losses = [F.cross_entropy(part.flatten(0, 1), facts_BF[:, fact].repeat_interleave(patches))
              for fact, part in enumerate(parts)]  # fmt: skip
    return torch.stack(losses).sum()


def examples(seed: int, steps: int, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Pixels [B, 3, s, s] and facts int64 [B, 4] of pre-training pictures; batch i depends on (seed, i) only."""
    for step in range(steps):
        rng = numpy_generator(seed, "tower", "batch", step)
        scene = world.pretraining_scene(rng, batch)
        yield to_pixels(world.render(scene, rng)), torch.from_numpy(facts(scene))


def teach(tower: Any, phase: Phase, batch: int, seed: int, progress: Progress | None) -> None:
    """Train a ``CLIPVisionModel`` in place; its last hidden states at the patches then tell every fact."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "tower", "init"))
        heads = nn.Linear(tower.config.hidden_size, sum(SIZES))

    def loss(example: tuple[Tensor, Tensor]) -> Tensor:
        pixels, true = example
        hidden = tower(pixel_values=pixels, output_hidden_states=True).hidden_states[-1]
        return naming_loss(heads(hidden[:, 1:]), true)

    optimise(nn.ModuleList([tower, heads]), phase, examples(seed, phase.steps, batch), loss, progress)
