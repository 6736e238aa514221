"""Configuration sections: frozen, validated, with a word that stands for the whole section.

``data=world`` is short for ``data.source=world`` because ``DataSpec.primary == "source"``.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """A frozen part of a recipe. Unknown keys are errors; a bare word sets the ``primary`` field."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    primary: ClassVar[str | None] = None
    """The field that a bare word sets, or None when the section takes no shorthand."""

    replaces: ClassVar[bool] = False
    """Whether a bare word on the command line starts the section anew (its other fields belong to the old word)."""

    @model_validator(mode="before")
    @classmethod
    def _word(cls, value: Any) -> Any:
        if cls.primary is not None and isinstance(value, str | int | float) and not isinstance(value, bool):
            return {cls.primary: value}
        return value
