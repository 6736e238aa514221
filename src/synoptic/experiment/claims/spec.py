"""What a claims file holds: suites of runs, and sentences about them that can be checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from synoptic.core.config import Section
from synoptic.core.errors import SynopticError, nearest
from synoptic.experiment.claims.metrics import check_spelling
from synoptic.experiment.claims.relation import Relation, parse_relation
from synoptic.experiment.comparison.suite import Settings, Suite

OURS: Literal["ours"] = "ours"


class Source(Section):
    """Where a claim comes from: ``ours``, or a paper and how surely it says so."""

    primary: ClassVar[str | None] = "paper"

    paper: str = Field(min_length=1, description="ours, or authors, year and arXiv number")
    where: str = Field("", description="section, table or abstract")
    status: Literal["ours", "confirmed", "reconstructed"] = Field(
        OURS, description="confirmed: read in the paper; reconstructed: pieced together from what others say of it"
    )

    @field_validator("status")
    @classmethod
    def _papers_have_one(cls, value: str, info: ValidationInfo) -> str:
        if (value == OURS) != (info.data.get("paper") == OURS):
            raise ValueError("a paper's claim is confirmed or reconstructed, and what no paper says is `source: ours`")
        return value

    def __str__(self) -> str:
        return self.paper if self.status == OURS else ", ".join(filter(None, (self.paper, self.where, self.status)))


class Figure(Section):
    """What a paper measured, on data of its own."""

    value: float = Field(description="the number")
    unit: str = Field("", description="such as points, %, times")
    where: str = Field(description="section or table")

    def __str__(self) -> str:
        return f"{self.value:{'+' if self.unit == 'points' else ''}g} {self.unit}".rstrip()


class Claim(Section):
    """One sentence, and the relation that must hold for it to be true."""

    statement: str = Field(min_length=1, description="one sentence")
    source: Source = Field(description="ours, or paper, where and status")
    suite: str = Field(description="the suite of runs it needs")
    relation: str = Field(description="what must hold of its measures")
    paper: Figure | None = Field(None, description="the paper's figure, where it is confirmed")
    note: str = Field("", description="what a reader should know")

    @field_validator("relation")
    @classmethod
    def _readable(cls, text: str) -> str:
        try:
            for term in parse_relation(text).terms:
                check_spelling(term.metric)
        except SynopticError as error:
            raise ValueError(str(error).removesuffix(".")) from error
        return text

    @field_validator("paper")
    @classmethod
    def _only_confirmed(cls, value: Figure | None, info: ValidationInfo) -> Figure | None:
        source = info.data.get("source")
        if value is not None and source is not None and source.status != "confirmed":
            raise ValueError("a paper's figure is shown only where the source's status is confirmed")
        return value

    @cached_property
    def parsed(self) -> Relation:
        """The relation."""
        return parse_relation(self.relation)


class Head(Section):
    """The plain keys of a claims file; suites and claims are looked at one by one."""

    title: str = Field(description="of the page")
    about: str = Field("", description="what a reader should know first")
    quick: Settings = Field(default_factory=dict, description="laid over every suite by --quick")
    suites: dict[str, Any] = Field(min_length=1, description="suites by name")
    claims: dict[str, Any] = Field(min_length=1, description="claims by id")


@dataclass(frozen=True)
class ClaimsFile:
    """A claims file that has been read.

    Attributes:
        name: what results and pages are called.
        title, about: for the page.
        suites: by name.
        claims: by id, in the file's order.
    """

    name: str
    title: str
    about: str
    suites: Mapping[str, Suite]
    claims: Mapping[str, Claim]

    def only(self, ids: Sequence[str]) -> ClaimsFile:
        """The same with these claims alone, and the suites that they need.

        Raises:
            SynopticError: no claim of that id.
        """
        for one in ids:
            if one not in self.claims:
                raise SynopticError(f"{self.name} has no claim '{one}'", nearest(one, self.claims))
        claims = {one: claim for one, claim in self.claims.items() if one in ids}
        needed = {claim.suite for claim in claims.values()}
        return replace(self, claims=claims,
                       suites={name: suite for name, suite in self.suites.items() if name in needed})  # fmt: skip

    def with_seeds(self, seeds: int) -> ClaimsFile:
        """The same with the seeds from 0 to ``seeds`` - 1."""
        return replace(self, suites={name: suite.with_seeds(range(seeds)) for name, suite in self.suites.items()})

    def quicker(self) -> ClaimsFile:
        """The small version of it, whose numbers mean nothing."""
        return replace(self, suites={name: suite.quicker() for name, suite in self.suites.items()})
