"""Who takes part in a round, what a reply must be, and how many clients train as one stack."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from synoptic.core import Section


class FederationSpec(Section):
    """The round policy."""

    participation: float = Field(1.0, gt=0, description="share of the clients in a round (<= 1), or their number")
    min_replies: float = Field(0.5, gt=0, description="share of the asked (< 1) or number below which a round fails")
    deadline: float | None = Field(None, gt=0, description="seconds a round may take; later replies are left out")
    max_update_norm: float | None = Field(None, gt=0, description="a reply further than this from its start is refused")
    max_failed_rounds: int = Field(3, ge=1, description="failed rounds in a row after which the run stops, saved")
    stack: Annotated[int, Field(ge=1)] | Literal["auto"] = Field("auto", description="clients trained as one stack")

    def cohort_size(self, clients: int) -> int:
        """How many of ``clients`` take part in a round; at least one."""
        wanted = self.participation * clients if self.participation <= 1 else self.participation
        return min(clients, max(1, round(wanted)))

    def fewest_replies(self, asked: int) -> int:
        """Valid replies below which a round fails."""
        wanted = self.min_replies * asked if self.min_replies < 1 else self.min_replies
        return min(asked, max(1, round(wanted)))
