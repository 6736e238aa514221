"""What can be set of TAP."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)

from synoptic.core import Section, SynopticError


class DistilSpec(Section):
    """What follows the last round: the personal model learns on from its data and from the federated one."""

    epochs: int = Field(1, ge=0, description="passes over the client's data; 0 leaves this stage out")
    weight: float = Field(1.0, ge=0, description="of the distance from the teacher, every task; 0 learns from data")
    temperature: float = Field(1.0, gt=0, description="of the teacher's and the student's answers")
    start: Literal["personal", "federated"] = Field(
        "personal", description="what learns: X, or the federated model, which with weight=0 is FedAvg and fine-tuning"
    )
    teacher_epochs: int = Field(1, ge=0, description="passes for which the teacher is tuned to the client first")


class TAPSettings(Section):
    """When a personal model takes over what the federation trained, how much of it, and what follows."""

    decide: Literal["margin", "paired"] = Field(
        "margin", description="by training losses and a margin, or by the same validation examples"
    )
    order: Literal["paper", "corrected"] = Field(
        "paper",
        description="margin: paper compares mean losses while training, the personal one of the last time; corrected "
        "those of the trained models on all training rows",
    )
    margin: float = Field(0.01, description="margin: how much lower the copy's loss must be; inf never, -inf always")
    margins: dict[str, float] = Field(default_factory=dict, description="margin: other margins, by task")
    first: Literal["replace", "keep"] = Field(
        "replace", description="margin: what a client does that has not trained its personal model yet"
    )
    sure: float = Field(1.0, ge=0, description="paired: standard errors beyond which a difference is believed")
    replace: Literal["hard", "soft"] = Field(
        "hard", description="whole paths of tasks, or (paired) each block as far as helps"
    )
    distil: DistilSpec = DistilSpec()
    settle: bool = Field(
        False, description="after the last stage move to the federated model, each block as far as validation says"
    )

    @model_serializer(mode="wrap")
    def _only_what_applies(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Recipes read, and hash, as they did before anybody could settle.
        return {key: value for key, value in plain(self).items() if key != "settle" or value}

    @field_validator("margin", "margins")
    @classmethod
    def _numbers(cls, value: float | dict[str, float]) -> float | dict[str, float]:
        for margin in value.values() if isinstance(value, dict) else [value]:
            if margin != margin:
                raise ValueError("a margin is not a number; use a number, inf to never replace or -inf to always")
        return value

    @field_serializer("margin", when_used="json")
    def _margin_in_words(self, margin: float) -> float | str:
        # JSON has no infinity, and a margin of none would be another one.
        return margin if math.isfinite(margin) else str(margin)

    @field_serializer("margins", when_used="json")
    def _margins_in_words(self, margins: dict[str, float]) -> dict[str, float | str]:
        return {name: self._margin_in_words(margin) for name, margin in margins.items()}

    @model_validator(mode="after")
    def _measured(self) -> TAPSettings:
        if self.replace == "soft" and self.decide == "margin":
            raise SynopticError("method.replace=soft tries each block on validation examples, and method.decide=margin "
                                "uses none", "set method.decide=paired")  # fmt: skip
        return self
