"""The model card of an exported adapter, in Hugging Face's format, written from what the run recorded.

It names no client, and no place on the machine that trained.
"""

from synoptic.experiment.card.newcomer import write_newcomer_card
from synoptic.experiment.card.page import write_card
from synoptic.experiment.card.subject import Subject

__all__ = ["Subject", "write_card", "write_newcomer_card"]
