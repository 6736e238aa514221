"""A modality-task model of named blocks over a frozen dual encoder."""

from synoptic.models.multitask.model import MultiTask
from synoptic.models.multitask.saved import open_blocks
from synoptic.models.multitask.spec import MultiTaskSpec, multitask_spec

__all__ = ["MultiTask", "MultiTaskSpec", "multitask_spec", "open_blocks"]
