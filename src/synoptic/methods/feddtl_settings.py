"""The settings of FedDTL: its schedule, who tunes which tower, and what travels."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from synoptic.core import Section
from synoptic.learning.policy import PolicySpec
from synoptic.learning.spec import TrainSpec


class ServerTrain(TrainSpec):
    """Training of the text tower on the server, each round."""

    epochs: int = Field(1, ge=1, description="passes over what was sent, each round")
    batch_size: int = Field(64, ge=1, description="embeddings in a step")


class Schedule(Section):
    """Two stages, and the server's training in each round."""

    warm_up: int | None = Field(None, ge=0, description="rounds of SFT before the second stage; none: half")
    second_epochs: int | None = Field(3, ge=1, description="epochs of the second stage; none: train.epochs")
    server: ServerTrain = ServerTrain()

    def begins(self, rounds: int) -> int:
        """The round with which the second stage begins."""
        return rounds // 2 if self.warm_up is None else self.warm_up


class FedDTLSettings(Schedule, PolicySpec):
    """The schedule, who tunes which tower, what travels; and how answers are drawn and judged (`PolicySpec`)."""

    second_stage: Literal["rl", "sft+kl", "sft", "stop"] = Field("rl", description="what follows; stop: nothing")
    text: Literal["server", "clients", "frozen"] = Field("server", description="who tunes the text tower")
    text_stages: Literal["both", "first"] = Field("both", description="when the server does")
    vision: Literal["clients", "frozen"] = Field("clients", description="who tunes the image tower")
    pairing: Literal["local", "averaged"] = Field("local", description="whose encoder embeds what is sent")
    uplink: Literal["embeddings", "capped", "prototypes"] = Field("embeddings", description="what tells of images")
    cap: int = Field(16, ge=1, description="capped: embeddings of each class and client")
    mean: Literal["factor", "product"] = Field("factor", description="average A and B, or the products B A")
    novel_guard: float = Field(0.0, ge=0, description="weight that holds generic words where they were")
    guard_words: int = Field(64, ge=1, description="how many words of the tokeniser are held")

    @model_validator(mode="after")
    def _somebody_trains(self) -> FedDTLSettings:
        if self.vision == "frozen" and self.text != "server":
            raise ValueError("with method.vision=frozen only the server trains; leave method.text at server")
        return self
