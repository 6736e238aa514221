"""Small things every floor stands on: errors, named random streams, configuration sections, atomic files."""

from synoptic.core.config import Section
from synoptic.core.errors import SynopticError
from synoptic.core.seeds import generator, stream_seed

__all__ = ["Section", "SynopticError", "generator", "stream_seed"]
