"""Rollouts: groups of answers that a policy has drawn, and how likely another policy finds them.

The policy is the model at the temperature of the draw. Old, new and reference log-probabilities all are that
distribution's, so ratios are one where weights agree. A nucleus (``top_p``) is cut out for the draw only and enters no
log-probability: its edge jumps as weights move, so a ratio of what is left would jump with it.

What is frozen is computed once in a rollout. Decoding passes every token through the frozen blocks anyway, and what
leaves them is kept for the reference and for all updates.

Legend: K clients, B prompts of each, N = K * B (client-major), G answers of each, T tokens, S tokens of a prompt with
its group, D width, n chosen prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synoptic.core import SynopticError
from synoptic.learning.answer_rows import AnswerRows, Tensors
from synoptic.models.answerer import Answerer
from synoptic.models.answerer.decode import Decoding, decode
from synoptic.models.answerer.groups import embed_group, group_scores
from synoptic.models.answerer.prompts import Sequences


@dataclass(frozen=True, eq=False)
class Rollout:
    """G answers to each of N prompts.

    Attributes:
        positions: rows of the table ``[N]``.
        ids: token ids ``[N, G, T]``, the end token included.
        length: tokens of each answer ``[N, G]``; what lies behind means nothing.
        log_old: log-probability of each token under the policy that drew it ``[N, G, T]``, zero behind the end.
        texts: N lists of G texts; a text may be empty.
        temperature: of the draw.
        prompts: the rows, without answers.
        depth: the block before which ``hidden`` was kept; None where the image side is trained, which leaves nothing
            to keep.
        hidden: what entered that block ``[N, S, D]``.
    """

    positions: NDArray[np.int64]
    ids: Tensor
    length: Tensor
    log_old: Tensor
    texts: list[list[str]]
    temperature: float
    prompts: Sequences
    depth: int | None = None
    hidden: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def counted(self) -> Tensor:
        """Which places are tokens of an answer, bool ``[N, G, T]``."""
        return torch.arange(self.ids.shape[2], device=self.length.device) < self.length[..., None]


def roll_out(
    model: Answerer, worn: Tensors, rows: AnswerRows, positions_KB: NDArray[np.int64], how: Decoding,
    generators: Sequence[torch.Generator],
) -> Rollout:  # fmt: skip
    """Let every client's model answer its own rows' questions, each several times.

    Args:
        model: the frozen base.
        worn: a stack by tensor names.
        rows: the table's rows.
        positions_KB: each client's rows.
        how: how many answers to each, how long, how hot.
        generators: one for each client.

    Raises:
        SynopticError: greedy decoding, which answers always in the same way.
    """
    if how.temperature <= 0:
        raise SynopticError("a rollout at temperature 0 draws the same answer each time", "set a temperature above 0")
    positions = positions_KB.ravel()
    begun = rows.prompts(worn, positions)
    depth = None if model.sees(worn) else model.entry(worn)
    with model.wearing(worn):
        said = decode(model, begun.hidden, begun.rows, how, generators, depth)
    return Rollout(positions, said.ids, said.length, said.drawn_log_probability, said.texts, how.temperature,
                   begun.rows, depth, said.hidden)  # fmt: skip


def log_probabilities(
    model: Answerer, worn: Tensors, rows: AnswerRows, rollout: Rollout, chosen: NDArray[np.int64]
) -> Tensor:
    """Log-probability of every drawn token ``[n, G, T]`` under a worn stack, with gradient; zero behind the end.

    Args:
        model: the frozen base.
        worn: a stack by tensor names; nothing is the base itself.
        rows: the table's rows.
        rollout: the answers.
        chosen: which of its prompts, client-major ``[n]``.
    """
    places = torch.from_numpy(chosen)
    ids, length = rollout.ids[places], rollout.length[places]
    hidden, prompts, start = _begun(model, worn, rows, rollout, places)
    with model.wearing(worn):
        return group_scores(model, hidden, prompts, ids, length, start, rollout.temperature)


def _begun(
    model: Answerer, worn: Tensors, rows: AnswerRows, rollout: Rollout, places: Tensor
) -> tuple[Tensor, Sequences, int]:
    """What was kept where the stack leaves it as it is, or everything anew from block 0."""
    hidden, depth = rollout.hidden, rollout.depth
    if hidden is not None and depth is not None and not model.sees(worn) and depth <= model.entry(worn):
        return hidden[places.to(hidden.device)], rollout.prompts.take(places), depth
    begun = rows.prompts(worn, rollout.positions[places.numpy()])
    return embed_group(model, begun.hidden, rollout.ids[places]), begun.rows, 0
