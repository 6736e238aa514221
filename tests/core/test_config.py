from __future__ import annotations

from typing import ClassVar

import pytest
from pydantic import Field, ValidationError

from synoptic.core import Section


class Inner(Section):
    primary: ClassVar[str | None] = "kind"
    kind: str = "a"
    size: int = Field(1, ge=1)


class Outer(Section):
    inner: Inner = Inner()
    size: int = 1


def test_a_bare_word_sets_the_primary_field() -> None:
    assert Outer.model_validate({"inner": "b"}).inner == Inner(kind="b")


def test_without_a_primary_field_a_word_is_refused() -> None:
    with pytest.raises(ValidationError):
        Outer.model_validate("b")


def test_sections_are_frozen_and_know_their_keys() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Outer().size = 2  # type: ignore[misc]
    with pytest.raises(ValidationError, match="colour"):
        Outer.model_validate({"colour": 1})
    with pytest.raises(ValidationError, match=r"inner\.size"):
        Outer.model_validate({"inner": {"size": 0}})
