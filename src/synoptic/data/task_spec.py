"""Who has which tasks of the world, and how sites differ: a part of the section `synoptic.data.spec.DataSpec`."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from synoptic.core.config import Section

ARCHETYPES: Final = (
    ("shapes",), ("colours",), ("colours",), ("pictures",), ("questions",), ("questions",), ("captions",),
    ("shapes", "colours"), ("captions", "pictures"), ("colours", "pictures"),
)  # fmt: skip
"""Ten sites as in TAP's experiments (arXiv 2509.26524): seven with one task, two of these fused, three with two."""

GROUPS: Final = 8
"""As many as there are styles of their own."""


class TaskWorldSpec(Section):
    """Who has which tasks of the world, and how sites with the same task differ."""

    archetypes: tuple[tuple[str, ...], ...] = Field(
        ARCHETYPES,
        min_length=1,
        description="each kind of site: shapes, colours, pictures, questions, captions",
    )
    groups: int = Field(3, ge=1, le=GROUPS, description="sites of every kind; a group has a style of its own")
    train: int = Field(60, ge=2, description="training rows of a site for each of its tasks, validation included")
    test: int = Field(30, ge=1, description="test rows of a site for each of its tasks")
    label_skew: float | None = Field(
        None, gt=0, description="alpha of each site's Dirichlet over a task's labels; none: all labels alike"
    )
    feature_skew: float = Field(0.0, ge=0, le=1, description="share of a site's pictures in its group's own style")
    validation: float = Field(0.2, ge=0, lt=1, description="share of the training rows of each task that is set aside")
    draw: int = Field(0, ge=0, description="which pictures, captions and questions are drawn")
