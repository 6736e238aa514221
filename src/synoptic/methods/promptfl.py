"""PromptFL (Guo et al. 2023): clients learn a few context vectors of the class prompts; both towers stay frozen.

The prompt is CoOp's (Zhou et al. 2022, eq. 2): ``[start] v_1 ... v_M [class name] [end]``, one context for all classes.
Images never change, so their features are computed once for the whole run.
"""

from __future__ import annotations

from typing import ClassVar

from synoptic.adapters.spec import AdapterSpec
from synoptic.methods.fedavg import FedAvg


class PromptFL(FedAvg):
    """FedAvg over context vectors."""

    summary = "learned context vectors on a frozen model, averaged every round (Guo et al. 2023)"
    adapter = AdapterSpec.model_validate({"text": "prompt"})
    dual_encoder_only = True
    defaults: ClassVar = {"train.lr": 0.01}
