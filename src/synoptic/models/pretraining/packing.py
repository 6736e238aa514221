"""Questions about pictures as rows of tokens: several questions share a picture, and each is read as if it were alone.

The picture's tokens are most of a row, so four questions a picture cost little more than one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from synoptic.models.pretraining.tokens import END, PAD, START, to_pixels

IMAGE, ANSWER = "<image>", "<answer>"
"""Where the picture stands (once per patch), and what divides a question from its answer."""

IGNORED = -100


def patches(vision: Any) -> int:
    """How many image tokens a picture gives."""
    return int((vision.image_size // vision.patch_size) ** 2)


@dataclass(frozen=True, eq=False)
class Packed:
    """Pictures with the questions about them, one row of t tokens per picture; see `pack`.

    Attributes:
        ids: int64 [n, t], padded on the right.
        targets: int64 [n, t - 1], the next id where it belongs to an answer or ends it, `IGNORED` elsewhere.
        part: int64 [n, t], 0 for the picture, 1, 2, ... for a question with its answer.
        place: int64 [n, t], positions, counted as if every question were the only one.

    """

    ids: Tensor
    targets: Tensor
    part: Tensor
    place: Tensor

    def mask(self) -> Tensor:
        """What a token attends to: the picture and its own question so far, bool [n, 1, t, t]."""
        part = self.part
        own = (part[:, None, :] == 0) | (part[:, None, :] == part[:, :, None])
        return (own & torch.ones(part.shape[1], part.shape[1], dtype=torch.bool).tril())[:, None]


def pack(tokenizer: Any, asked: list[str], said: list[str], image_tokens: int, each: int = 1) -> Packed:
    """Tokens of ``each`` questions and answers per picture. They share the picture, and none sees another."""
    start, image, answer, end, pad = tokenizer.convert_tokens_to_ids([START, IMAGE, ANSWER, END, PAD])
    head = [start, *[image] * image_tokens]
    prompts, replies = (tokenizer(texts, add_special_tokens=False)["input_ids"] for texts in (asked, said))
    turns = [([*prompt, answer], [*reply, end]) for prompt, reply in zip(prompts, replies, strict=True)]
    rows = [turns[first : first + each] for first in range(0, len(turns), each)]
    width = len(head) + max(sum(len(q) + len(a) for q, a in row) for row in rows)
    ids, targets, part, place = (np.full((len(rows), width), fill) for fill in (pad, IGNORED, each + 1, 0))
    for i, row in enumerate(rows):
        ids[i, : len(head)], part[i, : len(head)], place[i, : len(head)] = head, 0, range(len(head))
        at = len(head)
        for number, (prompt, reply) in enumerate(row, 1):
            middle, stop = at + len(prompt), at + len(prompt) + len(reply)
            ids[i, at:stop], part[i, at:stop] = prompt + reply, number
            place[i, at:stop] = range(len(head), len(head) + stop - at)
            targets[i, middle:stop] = reply
            at = stop
    return Packed(*map(torch.from_numpy, (ids, targets[:, 1:], part, place)))


def answer_logits(model: Any, images: NDArray[np.uint8], packed: Packed) -> Tensor:
    """Logits at the m positions with a target, float32 [m, vocabulary]."""
    hidden = model.model(input_ids=packed.ids, pixel_values=to_pixels(images), position_ids=packed.place,
                         attention_mask=packed.mask(), use_cache=False).last_hidden_state  # fmt: skip
    logits: Tensor = model.lm_head(hidden[:, :-1][packed.targets != IGNORED])
    return logits


@torch.no_grad()
def exact(
    model: Any, tokenizer: Any, images: NDArray[np.uint8], asked: list[str], said: list[str], batch: int = 256
) -> NDArray[np.bool_]:
    """Which answers greedy decoding gets right to the last token, bool [n].

    Greedy decoding gives the reference exactly if, with the reference as context, every next token is the likeliest.
    """
    tokens = patches(model.config.vision_config)
    parts = []
    for start in range(0, len(asked), batch):
        rows = slice(start, start + batch)
        packed = pack(tokenizer, asked[rows], said[rows], tokens)
        counted = packed.targets != IGNORED
        miss = torch.zeros(counted.shape, dtype=torch.bool)
        miss[counted] = answer_logits(model, images[rows], packed).argmax(-1) != packed.targets[counted]
        parts.append(~miss.any(dim=1).numpy())
    return np.concatenate(parts)


def answer_loss(model: Any, images: NDArray[np.uint8], packed: Packed) -> Tensor:
    """Mean cross-entropy over the tokens of all answers, their ends included."""
    return F.cross_entropy(answer_logits(model, images, packed), packed.targets[packed.targets != IGNORED])
