"""How a client trains in one round."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from synoptic.core import Section


class TrainSpec(Section):
    """Local training. Optimiser state starts anew each round, as FedAvg does."""

    epochs: int = Field(1, ge=1, description="passes over the client's data in a round")
    steps: int | None = Field(None, ge=1, description="exactly so many steps instead of epochs")
    batch_size: int = Field(32, ge=1, description="examples of one client in a step")
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="adamw or sgd; its state starts anew each round")
    lr: float = Field(1e-3, gt=0, description="learning rate")
    weight_decay: float = Field(0.0, ge=0, description="decoupled for adamw, L2 for sgd")
    momentum: float = Field(0.0, ge=0, lt=1, description="for sgd")
    betas: tuple[float, float] = Field((0.9, 0.999), description="for adamw")
    eps: float = Field(1e-8, gt=0, description="for adamw")
    clip_norm: float | None = Field(None, gt=0, description="bound on each client's gradient norm")
    schedule: Literal["constant", "linear", "cosine"] = Field("constant", description="of the rate, over rounds")
    warmup: int = Field(0, ge=0, description="rounds of linear warm-up")

    def rate(self, round_: int, rounds: int) -> float:
        """The learning rate of round ``round_`` (counted from 0) of ``rounds``."""
        if round_ < self.warmup:
            return self.lr * (round_ + 1) / (self.warmup + 1)
        progress = (round_ - self.warmup) / max(rounds - self.warmup, 1)
        if self.schedule == "linear":
            return self.lr * (1 - progress)
        if self.schedule == "cosine":
            return self.lr * 0.5 * (1 + math.cos(math.pi * progress))
        return self.lr
