"""What is adapted: LoRA factors, prompts and heads, chosen for each tower on its own."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from synoptic.core import Section, SynopticError

Target = Literal["q", "k", "v", "o", "fc1", "fc2", "gate"]


class ConnectorLora(Section):
    """Low-rank updates W + (alpha / rank) B A (Hu et al. 2022, eq. 3) on every linear weight of a connector."""

    rank: int = Field(4, ge=1, description="inner dimension of B A")
    alpha: float | None = Field(None, gt=0, description="scale is alpha / rank; left out, alpha = rank")

    @property
    def scale(self) -> float:
        """Alpha / rank, the factor in front of B A."""
        return 1.0 if self.alpha is None else self.alpha / self.rank


class LoraSpec(ConnectorLora):
    """Low-rank updates on chosen weights of chosen blocks."""

    layers: int | tuple[int, ...] | Literal["all"] = Field(2, description="the last n blocks, a list, or 'all'")
    targets: tuple[Target, ...] = Field(
        ("q", "k", "v"), min_length=1, description="which weights of a block: q, k, v, o, fc1, fc2, gate"
    )
    pooling: bool = Field(False, description="also adapt an attention-pooling head (SigLIP's image tower)")

    @field_validator("layers", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class PromptSpec(Section):
    """Learned vectors in a tower's input sequence (text: CoOp, Zhou et al. 2022; vision: VPT, Jia et al. 2022)."""

    primary = "length"
    length: int = Field(4, ge=1, description="learned vectors in the sequence")


class TowerSpec(Section):
    """How one tower is adapted. The words ``frozen``, ``lora``, ``prompt`` and ``head`` stand for the defaults."""

    lora: LoraSpec | None = None
    prompt: PromptSpec | None = None
    head: bool = Field(False, description="a residual linear map on the tower's embedding, zero at the start")

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        words: dict[str, dict[str, Any]] = {
            "frozen": {}, "lora": {"lora": {}}, "prompt": {"prompt": {}}, "head": {"head": True},
        }  # fmt: skip
        if isinstance(value, str):
            if value not in words:
                raise ValueError(f"'{value}' is no way to adapt a tower; choose one of: {', '.join(words)}")
            return words[value]
        return value

    @property
    def frozen(self) -> bool:
        """Whether nothing in this tower is trained."""
        return self.lora is None and self.prompt is None and not self.head


class ConnectorSpec(Section):
    """How the connector of a generative model is adapted. ``frozen`` and ``lora`` stand for the defaults."""

    lora: ConnectorLora | None = None

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        if isinstance(value, str):
            words: dict[str, dict[str, Any]] = {"frozen": {}, "lora": {"lora": {}}}
            if value not in words:
                raise ValueError(f"'{value}' is no way to adapt a connector; choose one of: {', '.join(words)}")
            return words[value]
        return value

    @property
    def frozen(self) -> bool:
        """Whether nothing in the connector is trained."""
        return self.lora is None


class BackboneSpec(Section):
    """What lies behind the towers where clients have different tasks: blocks of each modality and task, and heads."""

    rank: int = Field(16, ge=1, description="inner width of every backbone block")
    head_rank: int = Field(32, ge=1, description="inner width of heads that write text")
    heads: int = Field(4, ge=1, description="attention heads of each block; divides both widths")

    @model_validator(mode="after")
    def _shared_by_heads(self) -> BackboneSpec:
        for name in ("rank", "head_rank"):
            if getattr(self, name) % self.heads:
                raise SynopticError(f"backbone.{name}={getattr(self, name)} cannot be shared by {self.heads} heads",
                                    f"use a multiple of {self.heads}")  # fmt: skip
        return self


class AdapterSpec(Section):
    """What is trained on each tower of the base; everything else of it is frozen.

    Attributes:
        vision: the image tower.
        text: the text tower of a dual encoder, the language decoder of a generative model.
        connector: what lies between image tower and decoder of a generative model; a dual encoder has none.
        backbone: what lies behind the towers of a dual encoder that has several tasks; with one task there is nothing.
    """

    vision: TowerSpec = TowerSpec()
    text: TowerSpec = TowerSpec()
    connector: ConnectorSpec = ConnectorSpec()
    backbone: BackboneSpec | None = Field(None, description="data of several tasks: blocks and heads behind the towers")

    @model_serializer(mode="wrap")
    def _only_what_there_is(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A recipe's hash is over what is written: where there is no connector or backbone, nothing is said about it.
        written: dict[str, Any] = handler(self)
        if self.connector.frozen:
            written.pop("connector", None)
        if self.backbone is None:
            written.pop("backbone", None)
        return written
