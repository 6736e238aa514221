"""The keys of a recipe, read off its sections: what exists, what is allowed, what it is for.

Help texts, suggestions and error sentences come from here, so none of them can go stale.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from synoptic.core.config import Section
from synoptic.core.errors import nearest

_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
_NOUNS: dict[Any, tuple[str, str]] = {
    int: ("a whole number", "whole numbers such as [1, 2]"),
    float: ("a number", "numbers such as [0.9, 0.99]"),
    str: ("a word (a number needs quotes)", "words such as [a, b]"),
    bool: ("true or false", "truth values"),
}


@dataclass(frozen=True)
class Key:
    """One line of help."""

    name: str
    default: str
    description: str


def child_section(section: type[Section] | None, key: str) -> type[Section] | None:
    """The section that a field holds, or None when it holds a plain value or does not exist."""
    field = section.model_fields.get(key) if section is not None else None
    return _section_in(field.annotation) if field is not None else None


def item_section(section: type[Section] | None, key: str) -> type[Section] | None:
    """The section that each item of a list is, or None."""
    field = section.model_fields.get(key) if section is not None else None
    return _section_in(field.annotation, (Literal,)) if field is not None else None


def _section_in(annotation: Any, closed: tuple[Any, ...] = (Literal, list, tuple)) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    # What a list holds is written as its items, not as keys.
    inside = () if get_origin(annotation) in closed else get_args(annotation)
    found = (_section_in(part, closed) for part in inside)
    return next((section for section in found if section is not None), None)


def keys(section: type[Section], prefix: str = "", off: bool = False) -> Iterator[Key]:
    """All keys below a section that hold plain values, in order.

    Args:
        section: whose keys.
        prefix: before each name.
        off: whether sections that are off by default stand before their keys, with the value none.
    """
    for name, field in section.model_fields.items():
        inner = child_section(section, name)
        if inner is not None:
            if off and not field.is_required() and field.default is None:
                yield Key(f"{prefix}{name}", "none", field.description or "")
            yield from keys(inner, f"{prefix}{name}.", off)
        else:
            text = field.description or allowed(field.annotation, field.metadata)
            yield Key(f"{prefix}{name}", default_text(field), text)


def default_text(field: FieldInfo) -> str:
    """A default as it would be typed; empty for a field that has none."""
    return "" if field.is_required() else value_text(field.get_default(call_default_factory=True, validated_data={}))


def value_text(value: Any) -> str:
    """A value as it would be typed on the command line."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(value_text(item) for item in value)}]"
    return str(value)


def allowed(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """What a field takes, in words: ``a number, more than 0``.

    Args:
        annotation: the field's type.
        metadata: pydantic's constraints on it.
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = [item for part in parts[1:] for item in (part.metadata if isinstance(part, FieldInfo) else [part])]
        return allowed(parts[0], inner)
    if origin is Literal:
        return " or ".join(str(part) for part in parts) if len(parts) < 3 else f"one of: {', '.join(map(str, parts))}"
    if origin in (Union, types.UnionType):
        # Bounds on a union are meant for its numbers; nothing comes last.
        ordered = sorted(parts, key=lambda part: part is type(None))
        words = [allowed(part, metadata) for part in ordered]
        return (", or " if any("," in word for word in words[:-1]) else " or ").join(words)
    if annotation is type(None):
        return "none"
    if origin in (tuple, list):
        return _list_of(parts)
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return f"keys of its own ({', '.join(annotation.model_fields)})"
    return _NOUNS.get(annotation, ("another value", ""))[0] + (_bounds(metadata) if annotation in (int, float) else "")


def meant(value: Any, annotation: Any) -> str | None:
    """The word that a field takes and that is nearest to one it does not take; None without one that is near."""
    near = get_close_matches(value, list(_choices(annotation)), n=1, cutoff=0.6) if isinstance(value, str) else []
    return near[0] if near else None


def _choices(annotation: Any) -> Iterator[str]:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        yield from map(str, parts)
    elif origin in (Annotated, Union, types.UnionType):
        for part in parts[:1] if origin is Annotated else parts:
            yield from _choices(part)


def _list_of(parts: tuple[Any, ...]) -> str:
    many = _NOUNS.get(parts[0], ("", "values"))[1]
    if get_origin(parts[0]) is Literal:
        return f"a list of some of: {', '.join(map(str, get_args(parts[0])))}"
    return f"a list of {many}" if parts[-1] is Ellipsis or len(parts) == 1 else f"a list of {len(parts)} {many}"


def _bounds(metadata: Sequence[Any]) -> str:
    found = [f"{words} {getattr(item, name)}" for item in metadata for name, words in _BOUNDS.items()
             if getattr(item, name, None) is not None]  # fmt: skip
    return f", {' and '.join(found)}" if found else ""


def suggest(root: type[Section], path: Sequence[str], parent: type[Section]) -> str:
    """What somebody who wrote the unknown key ``path`` may have meant.

    The nearest key beside it, else one of that name elsewhere, else the nearest anywhere, else what there is.
    """
    *above, last = path
    prefix = "".join(f"{part}." for part in above)
    beside = list(parent.model_fields)
    close = get_close_matches(last, beside, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{prefix}{close[0]}'?"
    everywhere = [key.name for key in keys(root)]
    same = [name for name in everywhere if name.rsplit(".", 1)[-1] == last]
    if same:
        return f"did you mean '{same[0]}'?"
    close = get_close_matches(".".join(path), everywhere, n=1, cutoff=0.75)
    if close:
        return f"did you mean '{close[0]}'?"
    return nearest(last, beside) if beside else "there are none here"
