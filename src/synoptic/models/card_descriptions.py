"""What a describer says before any tuning: how right, how long, how careful and how well said, greedily and sampled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from synoptic.core.seeds import numpy_generator
from synoptic.data import questions
from synoptic.data.describing import read
from synoptic.data.phrasings import PHRASINGS, ask
from synoptic.data.styles import STYLES
from synoptic.data.tastes import features
from synoptic.data.world import TEXTURES, Images, Ints, compose, held_out_pairs, pretraining_pairs, render
from synoptic.models.answerer import Answerer
from synoptic.models.pretraining.packing import pack, patches
from synoptic.models.pretraining.tokens import to_pixels

PICTURES: Final = 256
LONGEST: Final = 16
STRENGTH: Final = 0.75
COLUMNS: Final = ("facts", "right", "words", "hedged", "no known form", "different")


@dataclass(frozen=True)
class Condition:
    """One row of the table."""

    name: str
    temperature: float = 0.0
    held_out: bool = False


CONDITIONS: Final = (
    Condition("the likeliest"),
    Condition("drawn at temperature 0.8", 0.8),
    Condition("drawn at temperature 1", 1.0),
    Condition("drawn at temperature 1, unseen (colour, shape) pairs", 1.0, held_out=True),
)


def examples(condition: Condition, n: int) -> tuple[Images, Ints, list[str]]:
    """Pictures, their facts ``[n, 4]`` and requests, in all styles and ways of asking."""
    rng = numpy_generator(0, "card", condition.name)
    known = np.array(sorted(held_out_pairs())) if condition.held_out else pretraining_pairs()
    colour, shape = known[rng.integers(0, len(known), n)].T
    texture = rng.integers(0, len(TEXTURES), n)
    scene = compose(shape, colour, texture, rng.permutation(n) % len(STYLES), rng, STRENGTH)
    requests = [ask(PHRASINGS[one], "describe", "") for one in rng.permutation(n) % len(PHRASINGS)]
    return render(scene, rng), questions.facts(scene), requests


def said(model: Answerer, images: Images, requests: list[str], temperature: float) -> list[str]:
    """What the library's own decoding answers to each request."""
    tokens, texts = patches(model.model.config.vision_config), [""] * len(requests)
    how: dict[str, Any] = {"do_sample": temperature > 0, "top_k": 0, "max_new_tokens": LONGEST, "pad_token_id": 0}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for request in sorted(set(requests)):
            rows = [row for row, one in enumerate(requests) if one == request]
            # All rows ask the same, so no prompt is padded.
            ids = pack(model.tokenizer, [request] * len(rows), [""] * len(rows), tokens).ids[:, :-1]
            told = model.model.generate(
                input_ids=ids, pixel_values=to_pixels(images[rows]), attention_mask=torch.ones_like(ids),
                temperature=temperature or 1.0, **how,
            )  # fmt: skip
            new = model.tokenizer.batch_decode(told[:, ids.shape[1] :], skip_special_tokens=True)
            for row, text in zip(rows, new, strict=True):
                texts[row] = text.strip()
    return texts


def scores(model: Answerer) -> dict[str, NDArray[np.float64]]:
    """Means over pictures of each of `COLUMNS`, float64 [6], for every condition."""
    return {condition.name: _score(model, condition) for condition in CONDITIONS}


def _score(model: Answerer, condition: Condition) -> NDArray[np.float64]:
    images, facts, requests = examples(condition, PICTURES)
    texts = said(model, images, requests, condition.temperature)
    readings = [read(text) for text in texts]
    stated = sum(len(one.named) for one in readings)
    right = sum(features(row, text).detailed for row, text in zip(facts.tolist(), texts, strict=True)) * facts.shape[1]
    return np.array([
        stated / len(texts), right / max(stated, 1), np.mean([one.words for one in readings]),
        np.mean([one.hedged for one in readings]), np.mean([one.malformed > 0 for one in readings]),
        len(set(texts)) / len(texts),
    ])  # fmt: skip


def lines(model: Answerer) -> list[str]:
    """The card's table."""
    return [
        f"{PICTURES} pictures a row, in all styles at strength {STRENGTH}: how many *facts* a description states and "
        "what",
        "share of these is *right*, how many *words* it has, how often it is *hedged*, what share has *no known form*,",
        "and what share of the descriptions are *different* texts.",
        "",
        f"| descriptions | {' | '.join(COLUMNS)} |",
        "|---|" + "---|" * len(COLUMNS),
        *(f"| {name} | {' | '.join(f'{value:.3f}' for value in row)} |" for name, row in scores(model).items()),
    ]
