"""KgCoOp (Yao et al. 2023) over FedAvg: learned context vectors, held near the embeddings of the names without them.

CoOp's context forgets classes it was not trained on; KgCoOp adds the mean squared distance between the tuned and the
untouched embeddings of the class names.
"""

from __future__ import annotations

import torch
from pydantic import Field
from tensordict import TensorDict
from torch import Tensor

from synoptic.learning.batches import Batch
from synoptic.learning.classifier import Tensors
from synoptic.learning.objectives.contrastive import classification_loss
from synoptic.learning.objectives.drift import drift
from synoptic.methods.base import Cohort, Replies, task
from synoptic.methods.fedavg import FedAvg
from synoptic.methods.promptfl import PromptFL

CLIP = 100.0
"""Inverse temperature of the bases for which the paper chose its weight."""


class KgCoOp(PromptFL):
    """PromptFL with ``weight * (1 / C) sum_c ||w_c - w_c^0||^2``; with ``method.weight=0`` it is PromptFL."""

    class Settings(FedAvg.Settings):
        """As FedAvg, and how strongly names are held."""

        weight: float = Field(8.0, ge=0, description="weight of the names' distance, for CLIP's temperature (lambda)")

    summary = "PromptFL whose class names are held near the untouched ones (Yao et al. 2023)"

    @task
    def train(self, cohort: Cohort, adapter: TensorDict) -> Replies:
        """Local training with the distance; its weight grows, as cross-entropy does, with the inverse temperature."""
        bench, problem = cohort.bench, cohort.classification()
        weight = self.settings.weight * bench.classifier.model.logit_scale / CLIP
        original = bench.classifier.texts({}, bench.data.base_classes, 1)[0]

        def loss(worn: Tensors, batch: Batch) -> Tensor:
            images, texts = problem.pair(worn, batch.rows)
            logits = bench.classifier.similarities(images, texts)
            apart = drift(texts, original)[:, None]
            return torch.add(classification_loss(logits, problem.targets(batch.rows)), apart, alpha=weight)

        fitted = cohort.fit(adapter, loss)
        return cohort.reply(adapter=fitted.stack, examples=cohort.examples, loss=fitted.loss)
