"""Who has which tasks, and how sites differ: a part of the section `synoptic.data.spec.DataSpec`."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from synoptic.core.config import Section
from synoptic.core.errors import SynopticError

ARCHETYPES: Final = (
    ("shapes",), ("corrections",), ("corrections",), ("pictures",), ("questions",), ("questions",), ("captions",),
    ("shapes", "corrections"), ("captions", "pictures"), ("corrections", "pictures"),
)  # fmt: skip
"""Ten sites as in TAP's experiments (arXiv 2509.26524): seven with one task, two of these fused, three with two."""

GROUPS: Final = 8
"""As many as there are styles of their own."""

FILES: Final = ("parquet", "folder")
"""Sources that lie on this machine, below a folder that the recipe names."""


class OwnTaskSpec(Section):
    """A task on data of one's own: what is read, what is wanted, and where it lies.

    Columns and paths mean what they mean in `synoptic.data.spec.DataSpec`.
    """

    name: str = Field(description="of the task: small letters, digits, _ and -")
    kind: Literal["classify", "generate", "reconstruct"] = Field(
        description="one of the labels, a text, or the picture itself"
    )
    reads: tuple[Literal["image", "text"], ...] = Field(
        (), description="image, text or both; none: image, and text where there is a column of it"
    )
    source: str = Field(description="any other source, with its path behind a colon: digits, parquet:PATH, folder:PATH")
    path: str | None = Field(None, description="where it lies, if the source does not say it")
    test_path: str | None = Field(None, description="parquet: the test file, if the path names only the train one")
    image: str = Field("image", description="the column of pictures")
    text: str | None = Field(None, description="the column of texts to read, or of lists of them for each picture")
    label: str | None = Field("label", description="the column of labels; of other kinds what a skew is over")
    answer: str | None = Field(None, description="generate: the column of texts to write")
    domain: str | None = Field(None, description="the column of domains, of which every group has one for its own")
    family: str = Field("", description="tasks of one family share blocks; none: the name")

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, value: Any) -> Any:
        """Split "parquet:PATH", and say what is read."""
        if not isinstance(value, dict):
            return value
        filled, source = dict(value), value.get("source")
        if isinstance(source, str) and ":" in source:
            filled["source"], path = source.split(":", 1)
            if filled.get("path") not in (None, path):
                raise SynopticError(f"a task has two paths ({path}, {filled['path']})", "give one")
            filled["path"] = path
        if not filled.get("reads"):
            filled["reads"] = ["image", "text"] if filled.get("text") else ["image"]
        elif isinstance(filled["reads"], str):
            filled["reads"] = [filled["reads"]]
        if filled.get("kind") == "generate" and "label" not in filled:
            filled["label"] = None
        return filled

    @model_validator(mode="after")
    def _consistent(self) -> OwnTaskSpec:
        if self.source == "tasks":
            raise SynopticError(f"task '{self.name}' cannot have data=tasks", "name another source")
        if ("text" in self.reads) != (self.text is not None):
            named = "names no column of texts" if self.text is None else "names a column of texts"
            raise SynopticError(f"task '{self.name}' reads {' and '.join(self.reads)} and {named}",
                                "set text to their column and reads to text or [image, text], or neither")  # fmt: skip
        if (self.kind == "generate") != (self.answer is not None):
            has = "no column" if self.answer is None else "a column"
            raise SynopticError(f"task '{self.name}' ({self.kind}) names {has} of texts to write",
                                "set answer where kind is generate, and nowhere else")  # fmt: skip
        if self.kind != "generate" and self.label is None:
            raise SynopticError(f"task '{self.name}' ({self.kind}) names no column of labels", "set label")
        return self


class TaskWorldSpec(Section):
    """Who has which tasks, of the world or on data of one's own, and how sites with the same task differ."""

    archetypes: tuple[tuple[str, ...], ...] = Field(
        ARCHETYPES,
        min_length=1,
        description="each kind of site: shapes, corrections, colours, pictures, questions, captions and tasks of your "
        "own; with these, none: one site for each",
    )
    own: tuple[OwnTaskSpec, ...] = Field(
        (), description="tasks on data of your own, each with a name, a kind, a source and its columns"
    )
    groups: int = Field(3, ge=1, le=GROUPS, description="sites of every kind; a group has a style or domain of its own")
    train: int = Field(60, ge=2, description="training rows of a site for each of its tasks, validation included")
    test: int = Field(30, ge=1, description="test rows of a site for each of its tasks")
    label_skew: float | None = Field(
        None, gt=0, description="alpha of each site's Dirichlet over a task's labels; none: all labels alike"
    )
    feature_skew: float = Field(
        0.0, ge=0, le=1, description="share of a site's rows in its group's own style, or of its own domain"
    )
    validation: float = Field(0.2, ge=0, lt=1, description="share of the training rows of each task that is set aside")
    draw: int = Field(0, ge=0, description="which pictures, captions, questions and rows are drawn")

    @model_validator(mode="before")
    @classmethod
    def _one_site_each(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("own") and not value.get("archetypes"):
            named = [one.get("name") if isinstance(one, dict) else one.name for one in value["own"]]
            return {**value, "archetypes": [[name] for name in dict.fromkeys(named)]}
        return value

    @field_validator("archetypes", mode="before")
    @classmethod
    def _single(cls, value: Any) -> Any:
        return [[one] if isinstance(one, str) else one for one in value] if isinstance(value, list) else value

    @property
    def sites(self) -> list[tuple[str, ...]]:
        """Each site's tasks, group by group."""
        return [archetype for _ in range(self.groups) for archetype in self.archetypes]

    @property
    def on_files(self) -> bool:
        """Whether a task of one's own lies in files."""
        return any(one.source in FILES for one in self.own)
