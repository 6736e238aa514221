"""Zero-shot: the frozen base as it comes (Radford et al. 2021). The floor that every method must beat."""

from __future__ import annotations

from typing import ClassVar

from synoptic.methods.base import Method, Server


class ZeroShot(Method):
    """Trains nothing, sends nothing."""

    summary = "the frozen base, untouched: the floor"
    defaults: ClassVar = {"rounds": 0}

    def round(self, server: Server, t: int) -> None:
        """Nothing happens."""
