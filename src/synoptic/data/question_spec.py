"""What the world's questions are and how sites differ: a part of the section `synoptic.data.spec.DataSpec`."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from synoptic.core.config import Section
from synoptic.core.errors import SynopticError

DESCRIBED: Final = ("describe",)
"""The kinds of question where groups have tastes."""
PUBLIC_TEST: Final = 200


class TastesSpec(Section):
    """Preferences with a known utility: which of two answers about the same picture a group of sites likes better."""

    primary: ClassVar[str | None] = "conflict"

    conflict: float = Field(
        90.0, ge=0, le=180, description="degrees between the first and the last group's taste; 0: all agree"
    )
    weight: float = Field(
        1.0, gt=0, le=1, description="of a taste; that answers are right weighs 1, and no taste likes a wrong one more"
    )
    temperature: float = Field(
        0.2, ge=0, description="of the choice between two training answers; 0 takes what is worth more"
    )
    noise: float = Field(0.1, ge=0, le=0.5, description="share of training pairs whose preference is turned round")
    broken: float = Field(
        0.25, ge=0, le=1, description="share of the answers to choose between whose words are jumbled, repeated or odd"
    )
    skew: float = Field(
        1.0, gt=0, le=1, description="training rows of each next group, as a share of those of the one before"
    )


class QuestionSpec(Section):
    """The world's questions: what is asked, and how groups of sites differ in what they see, ask and answer."""

    groups: int | None = Field(
        None,
        ge=1,
        description="groups of sites (domains); none: one per client, if there are as many ways",
    )
    input_shift: float = Field(
        0.5, ge=0, le=1, description="share of a group's rows that are drawn, chosen and asked in its own way"
    )
    output_shift: float = Field(
        0.5, ge=0, le=1, description="share of what can be asked that a group answers in its own manner"
    )
    common: float = Field(
        0.5, ge=0, le=1, description="share of pictures, questions and answers that are new to the model, for everybody"
    )
    common_manner: str = Field("hedged", description="in which manner everybody answers what is new")
    kinds: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="kinds of questions; none: colour, shape, texture, place, check, describe; with tastes describe",
    )
    train: int = Field(200, ge=1, description="training rows per group")
    test: int = Field(100, ge=1, description="test rows per group")
    rejected: bool = Field(False, description="whether every row has a wrong answer too (preference records)")
    draw: int = Field(0, ge=0, description="which pictures and questions are drawn")
    tastes: TastesSpec | None = Field(
        None, description="descriptions that groups like more or less, in place of manners; none: every answer is exact"
    )
    public: int = Field(0, ge=0, description="rows that only the server has, asked in all groups' ways alike")
    public_test: int = Field(
        0, ge=0, description="further rows of that kind, to judge the server on; with public rows 200"
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_public(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("public") and value.get("public_test") is None:
            return {**value, "public_test": PUBLIC_TEST}
        return value

    @model_validator(mode="after")
    def _only_descriptions(self) -> QuestionSpec:
        if self.tastes is not None and self.kinds not in (None, DESCRIBED):
            raise SynopticError("with data.questions.tastes every question asks for a description", "leave out kinds")
        return self

    @model_serializer(mode="wrap")
    def _only_what_applies(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Recipes without tastes and public rows read, and hash, as they did before there were any.
        left_out = set() if self.public or self.public_test else {"public", "public_test"}
        left_out |= {"tastes"} if self.tastes is None else set()
        return {key: value for key, value in plain(self).items() if key not in left_out}
