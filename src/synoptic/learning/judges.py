"""Reward models of several kinds side by side: sites need not have the same base, nor a trained model at all.

    spec = JudgeSpec(base="tiny-clip", hidden=32)
    start = judges.new_adapter(spec)
    scorer = judges.scorer(spec, data.train)                  # to train, through `PreferenceLoss`
    scores = judges.scores(spec, leaves(stack), table, rows, texts)   # [K, N, G]

Legend: K clients, N rows, G texts of each row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import leaves
from synoptic.core import SynopticError
from synoptic.core.files import digest
from synoptic.data.federated import FederatedData
from synoptic.data.parcel import Parcel
from synoptic.data.table import ExampleTable
from synoptic.learning.answer_rows import Tensors
from synoptic.learning.negatives import with_own_negatives
from synoptic.learning.rewarding import RewardSpec, Scorer, new_reward_adapter
from synoptic.learning.scripted_reward import Scripted, load_script
from synoptic.learning.splits import neighbours
from synoptic.models.cache import Budget
from synoptic.models.load import Base, shared_model

Ints = NDArray[np.int64]


class JudgeSpec(RewardSpec):
    """One kind of reward model."""

    base: str | None = Field(None, description="its base: an embedded model, a folder, a hub id; none: the policy's")
    script: str | None = Field(None, description="module:function that gives scores; nothing is trained then")
    adapter: AdapterSpec = Field(AdapterSpec(), description="what is tuned of its base, beside the scalar head")
    negatives: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of worse answers that the policy draws before it is aligned, in place of given ones",
    )

    @model_serializer(mode="wrap")
    def _only_what_applies(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Recipes read, and hash, as they did before there were negatives.
        return {key: value for key, value in plain(self).items() if key != "negatives" or self.negatives}

    @model_validator(mode="after")
    def _one_or_the_other(self) -> JudgeSpec:
        if self.script is not None and self.base is not None:
            raise ValueError("a scoring function has no base: give base or script")
        return self


class Judges:
    """What reward models of any kind need, each made once: bases, scorers of tables, and tables that were shown.

    Args:
        model: the policy's base.
        data: whose training table reward models learn from.
        cache: memory for what is frozen; None computes it anew each time.
        seed: of fresh adapters.
    """

    def __init__(self, model: Base, data: FederatedData, cache: Budget | None, seed: int) -> None:
        self._model = model
        self._data = data
        self._cache = cache
        self._seed = seed
        self._scorers: dict[tuple[str, str, str], Scorer] = {}
        self._shown: dict[str, ExampleTable] = {}

    def new_adapter(self, spec: JudgeSpec) -> TensorDict:
        """A fresh reward model, which gives everything the same score."""
        return new_reward_adapter(self._base(spec), spec.adapter, spec, self._seed)

    def scorer(self, spec: JudgeSpec, table: ExampleTable, policy: TensorDict | None = None) -> Scorer:
        """Scores of a table's rows; ``policy`` is what the base wears when it draws worse answers."""
        drawn_by = "" if policy is None or not spec.negatives else digest(*leaves(policy).values())
        key = (spec.model_dump_json(), table.fingerprint, drawn_by)
        if key not in self._scorers:
            own = table is self._data.train
            order, starts = neighbours(self._data.clients) if own else (np.arange(len(table)), None)
            if own and spec.negatives:
                table = with_own_negatives(self._model, table, order, spec.negatives, self._seed, policy)
            self._scorers[key] = Scorer(self._base(spec), table, order, spec, self._cache, starts)
        return self._scorers[key]

    def scores(
        self, spec: JudgeSpec, worn: Tensors, table: ExampleTable, positions: Ints, texts: Sequence[Sequence[str]]
    ) -> Tensor:
        """Raw scores ``[K, N, G]`` of any texts for a table's rows; of a function, which all clients share, K is 1."""
        if spec.script is not None:
            return Scripted(load_script(spec.script), table, spec.script).score(positions, texts)[None]
        return self.scorer(spec, table).scores(worn, positions, texts)

    def shown(self, parcel: Parcel) -> ExampleTable:
        """The questions of a parcel; its pictures are opened once, however many clients have been sent the same."""
        key = parcel.fingerprint
        if key not in self._shown:
            self._shown[key] = parcel.table("the questions that the server shows")
        return self._shown[key]

    def _base(self, spec: JudgeSpec) -> Base:
        if spec.script is not None:
            raise SynopticError(f"the scoring function {spec.script} has no base to train", "leave it as it is")
        return self._model if spec.base is None else shared_model(spec.base)
