"""How large the trainable parts of a modality-task model are."""

from __future__ import annotations

from pydantic import Field, model_validator

from synoptic.adapters.spec import AdapterSpec, BackboneSpec, LoraSpec
from synoptic.core import SynopticError


class MultiTaskSpec(BackboneSpec):
    """Encoders are adapted by LoRA; backbone and heads are low-rank blocks."""

    image: LoraSpec | None = Field(LoraSpec(layers=1), description="LoRA of the image encoder; none leaves it frozen")
    text: LoraSpec | None = Field(LoraSpec(layers=1), description="LoRA of the text encoder; none leaves it frozen")

    @model_validator(mode="after")
    def _without_pooling(self) -> MultiTaskSpec:
        if any(lora is not None and lora.pooling for lora in (self.image, self.text)):
            raise SynopticError("backbone lora.pooling adapts a head that models of several tasks do not use",
                                "leave pooling out")  # fmt: skip
        return self


def multitask_spec(adapter: AdapterSpec) -> MultiTaskSpec:
    """What a recipe's section ``adapter`` says of a modality-task model: LoRA of both towers, and the backbone.

    Raises:
        SynopticError: prompts, a tower's own head or a connector, which a modality-task model does not have.
    """
    odd = [name for name, tower in (("vision", adapter.vision), ("text", adapter.text)) if tower.prompt or tower.head]
    if not adapter.connector.frozen:
        odd.append("connector")
    if odd:
        raise SynopticError(f"adapter.{odd[0]} asks for more than LoRA of the towers, and data of several tasks adapt "
                            "nothing else there", f"set adapter.{odd[0]} to "
                            + ("frozen" if odd[0] == "connector" else "lora or frozen"))  # fmt: skip
    backbone = adapter.backbone or BackboneSpec()
    return MultiTaskSpec(image=adapter.vision.lora, text=adapter.text.lora, **backbone.model_dump())
