"""Reward models: one number for (picture, question, text), learned from pairs of which one text is preferred.

    scorer = Scorer(model, table, np.arange(len(table)), RewardSpec())
    stack = expand(scorer.new_adapter(AdapterSpec(text="lora"), seed=0), clients)
    stack = fit(stack, plans, PreferenceLoss(scorer), TrainSpec(), lr=3e-3).stack
    mine = Trained(scorer, stack[0])
    raw = mine.score(positions, texts)                       # [N, G], with any RewardModel
    ours = normalised(raw, calibrated(mine, held_out, table))

Legend: K clients, B rows, N rows, n pairs, G texts of each row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import adapter, expand, leaves
from synoptic.core import Section, SynopticError
from synoptic.core.seeds import generator
from synoptic.data.table import ExampleTable
from synoptic.learning.answering import clients_of
from synoptic.learning.batches import Batch
from synoptic.learning.encoder_reader import Heard
from synoptic.learning.fit import Tensors
from synoptic.learning.objectives.preference import Calibration, bradley_terry, calibration
from synoptic.learning.reading import features_of, make_reader
from synoptic.models.cache import Budget
from synoptic.models.frozen import names_of
from synoptic.models.load import Base
from synoptic.models.scalar_head import init_head, scalar

Ints = NDArray[np.int64]
TOWERS = ("vision", "connector", "text")
ROWS = 256
"""Rows of one forward pass without gradient, all clients together."""


class RewardSpec(Section):
    """What a reward model is made of and learns from."""

    hidden: int = Field(0, ge=0, description="hidden units of the scalar head; 0 makes it linear")
    heard: Heard = Field("both", description="what a dual encoder's text tower is given: answer, or both with question")
    likelihood: bool = Field(True, description="whether a generative base's likelihood of the text is read beside it")
    centring: float = Field(0.01, ge=0, description="weight of (r+ + r-)^2, which keeps scores around zero")
    ties: Literal["refuse", "drop"] = Field("refuse", description="pairs whose two answers are the same")


class RewardModel(Protocol):
    """Whatever gives scores: a trained model on any base, or a script. Clients need not have the same kind."""

    def score(self, positions: Ints, texts: Sequence[Sequence[str]]) -> Tensor:
        """Raw scores ``[N, G]``, float32.

        Args:
            positions: rows of the table that the model was made for ``[N]``; they say picture and question.
            texts: G texts for each of them.
        """
        ...


def new_reward_adapter(model: Base, spec: AdapterSpec, reward: RewardSpec, seed: int) -> TensorDict:
    """A fresh adapter with a head: what ``spec`` adapts of the base, which may be nothing, and the scalar head.

    Its scores are all zero, whatever it reads.

    Raises:
        SynopticError: a text prompt, or layers, targets or a rank that this base does not have.
    """
    nothing = spec.vision.frozen and spec.text.frozen and spec.connector.frozen
    tensors = {} if nothing else leaves(model.new_adapter(spec, seed))
    if "text/prompt/context" in tensors:
        raise SynopticError("a reward model reads another text in every row, and text prompts are for class names",
                            "set adapter.text to lora, head or frozen")  # fmt: skip
    head = init_head(features_of(model, reward.likelihood), reward.hidden, generator(seed, "adapter", "reward"))
    return adapter({**tensors, **head})


class Scorer:
    """Raw scores of one table's rows by K clients' reward models over one frozen base, in one pass.

    Args:
        model: the base, a dual encoder or a generative model.
        table: pictures with questions; with rejected answers where `pair` is asked for.
        order: positions that will be asked for, neighbours together.
        spec: what the models are made of.
        budget: memory for frozen prefixes; None computes them anew each time.
        starts: places in ``order`` where a new client begins.
    """

    def __init__(
        self, model: Base, table: ExampleTable, order: Ints, spec: RewardSpec, budget: Budget | None = None,
        starts: Ints | None = None,
    ) -> None:  # fmt: skip
        self.model = model
        self.table = table
        self.spec = spec
        self._reader = make_reader(model, table, order, budget, starts, spec.heard, spec.likelihood)

    def new_adapter(self, spec: AdapterSpec, seed: int) -> TensorDict:
        """See `new_reward_adapter`."""
        return new_reward_adapter(self.model, spec, self.spec, seed)

    def pair(self, worn: Tensors, positions_KB: Ints) -> tuple[Tensor, Tensor]:
        """Scores of the preferred and of the rejected answer of each client's rows, ``[K, B]`` each, with gradient.

        Raises:
            SynopticError: a table without rejected answers.
        """
        if self.table.words is None or self.table.words.rejected is None:
            raise SynopticError(f"{self.table.name} has no rejected answers", "use preference records")
        preferred, rejected = (scalar(worn, features).view(positions_KB.shape)
                               for features in self._reader.pair(worn, positions_KB.ravel()))  # fmt: skip
        return preferred, rejected

    @torch.no_grad()
    def pairs(self, worn: Tensors, positions: Ints) -> tuple[Tensor, Tensor]:
        """`pair` of the same rows for every client, ``[K, n]`` each, in batches and without gradient."""
        clients = clients_of(worn)
        width = max(1, ROWS // (2 * clients))
        parts = [self.pair(worn, np.tile(positions[i : i + width], (clients, 1)))
                 for i in range(0, len(positions), width)]  # fmt: skip
        if not parts:
            return torch.zeros(clients, 0), torch.zeros(clients, 0)
        return torch.cat([part[0] for part in parts], 1), torch.cat([part[1] for part in parts], 1)

    @torch.no_grad()
    def scores(self, worn: Tensors, positions: Ints, texts: Sequence[Sequence[str]]) -> Tensor:
        """Scores ``[K, N, G]`` of any texts for the same rows, by every client's model.

        Args:
            worn: a stack by tensor names; without a head in it all scores are zero.
            positions: rows ``[N]``.
            texts: G texts for each of them.

        Raises:
            SynopticError: rows with different numbers of texts.
        """
        clients, group = clients_of(worn), group_size(positions, texts)
        # Heads on one frozen base read the same features.
        copies = clients if any(names_of(worn, tower) for tower in TOWERS) else 1
        width = max(1, ROWS // max(1, copies * group))
        parts = [torch.zeros(clients, 0, group)]
        for start in range(0, len(positions) if group else 0, width):
            some = positions[start : start + width]
            said = [text for texts_G in texts[start : start + width] for text in texts_G]
            rows = np.tile(np.repeat(some, group), copies)
            features = self._reader.texts(worn, rows, said * copies).repeat(clients // copies, 1)
            parts.append(scalar(worn, features).view(clients, len(some), group))
        return torch.cat(parts, dim=1) if group else torch.zeros(clients, len(positions), 0)


class PreferenceLoss:
    """`synoptic.learning.fit.Loss` of reward models: Bradley-Terry with centring, see `bradley_terry`."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def __call__(self, worn: Tensors, batch: Batch) -> Tensor:
        """Loss ``[K, B]``."""
        return bradley_terry(*self._scorer.pair(worn, batch.rows), self._scorer.spec.centring)


class Trained:
    """`RewardModel`: one client's adapter and head, worn on a scorer's base."""

    def __init__(self, scorer: Scorer, one: TensorDict) -> None:
        self._scorer = scorer
        self._worn = leaves(expand(one, 1))

    def score(self, positions: Ints, texts: Sequence[Sequence[str]]) -> Tensor:
        """See `RewardModel.score`."""
        return self._scorer.scores(self._worn, positions, texts)[0]


def calibrated(model: RewardModel, positions: Ints, table: ExampleTable) -> Calibration:
    """Calibration of any reward model on preference records at ``positions [n]`` of its table.

    Raises:
        SynopticError: no record, a table without rejected answers, or scores that are not finite.
    """
    words = table.words.take(positions) if table.words is not None else None
    if words is None or words.rejected is None:
        raise SynopticError(f"{table.name} has no rejected answers to calibrate on", "use preference records")
    scores_n2 = model.score(positions, list(zip(words.answers, words.rejected, strict=True)))
    return calibration(scores_n2[:, 0], scores_n2[:, 1])


def group_size(positions: Ints, texts: Sequence[Sequence[str]]) -> int:
    """G, the same for all rows.

    Raises:
        SynopticError: rows with different numbers of texts, or texts for other rows.
    """
    sizes = {len(texts_G) for texts_G in texts}
    if len(texts) != len(positions) or len(sizes) > 1:
        raise SynopticError(f"{len(positions)} rows were given {len(texts)} groups of {sorted(sizes)} texts",
                            "give every row the same number of texts")  # fmt: skip
    return next(iter(sizes), 0)
