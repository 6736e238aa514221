"""Small things every floor stands on: errors, configuration sections, named random streams, atomic files."""

from synoptic.core.config import Section
from synoptic.core.errors import SynopticError

__all__ = ["Section", "SynopticError"]
