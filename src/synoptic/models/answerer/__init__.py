"""Frozen generative vision-language models, cut open so that what is frozen is computed once."""

from __future__ import annotations

from synoptic.models.answerer.model import Answerer

__all__ = ["Answerer"]
