"""How large the trainable parts of a modality-task model are."""

from __future__ import annotations

from pydantic import Field, model_validator

from synoptic.adapters.spec import LoraSpec
from synoptic.core import Section, SynopticError


class MultiTaskSpec(Section):
    """Encoders are adapted by LoRA; backbone and heads are low-rank blocks."""

    image: LoraSpec | None = Field(LoraSpec(layers=1), description="LoRA of the image encoder; none leaves it frozen")
    text: LoraSpec | None = Field(LoraSpec(layers=1), description="LoRA of the text encoder; none leaves it frozen")
    rank: int = Field(16, ge=1, description="inner width of every backbone block")
    head_rank: int = Field(32, ge=1, description="inner width of heads that write text")
    heads: int = Field(4, ge=1, description="attention heads of each block; divides both widths")

    @model_validator(mode="after")
    def _consistent(self) -> MultiTaskSpec:
        for name in ("rank", "head_rank"):
            if getattr(self, name) % self.heads:
                raise SynopticError(f"backbone.{name}={getattr(self, name)} cannot be shared by {self.heads} heads",
                                    f"use a multiple of {self.heads}")  # fmt: skip
        if any(lora is not None and lora.pooling for lora in (self.image, self.text)):
            raise SynopticError("backbone lora.pooling adapts a head that models of several tasks do not use",
                                "leave pooling out")  # fmt: skip
        return self
