"""Griffe extension: the house's docstring notation on the site.

A name in single backticks is a reference: it becomes a link when it can be found from where it stands, and a name that
begins with ``synoptic.`` must be found. Double backticks are literal text. The description of a pydantic field is its
docstring, and its default is its value.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import griffe

NAME = re.compile(r"(?<![`\w])`([A-Za-z_][\w.]*)`(?!`)")
ROOT = "synoptic"


class Docstrings(griffe.Extension):
    """See the module."""

    def on_package(self, *, pkg: griffe.Module, **_: object) -> None:
        """Rewrite every docstring once the whole package is known."""
        for one in list(_objects(pkg)):
            if isinstance(one, griffe.Attribute):
                _describe_field(one)
            if one.docstring is not None:
                one.docstring.value = NAME.sub(lambda found, here=one: _linked(found, here), one.docstring.value)


def _objects(one: griffe.Object) -> Iterator[griffe.Object]:
    yield one
    for member in one.members.values():
        if not member.is_alias:
            yield from _objects(member)


def _describe_field(attribute: griffe.Attribute) -> None:
    call = attribute.value
    if not isinstance(call, griffe.ExprCall) or call.canonical_path != "pydantic.Field":
        return
    named = {part.name: part.value for part in call.arguments if isinstance(part, griffe.ExprKeyword)}
    plain = [part for part in call.arguments if not isinstance(part, griffe.ExprKeyword)]
    if attribute.docstring is None and "description" in named:
        text = ast.literal_eval(str(named["description"]))
        sentence = text[:1].upper() + text[1:]
        attribute.docstring = griffe.Docstring(f"{sentence}.", parent=attribute)
    attribute.value = plain[0] if plain else named.get("default")


def _linked(found: re.Match[str], here: griffe.Object) -> str:
    name = found[1]
    if name == ROOT or name.startswith(f"{ROOT}."):
        return f"[`{name}`][{name}]"
    path = _resolved(name, here)
    if path is None or not path.startswith(f"{ROOT}."):
        return found[0]
    return f'<autoref identifier="{path}" optional><code>{name}</code></autoref>'


def _resolved(name: str, here: griffe.Object) -> str | None:
    """Full path of a name as it is seen from an object: its members, then those of whatever holds it."""
    first, _, rest = name.partition(".")
    scope: griffe.Object | None = here
    while scope is not None:
        if first in scope.members:
            member = scope.members[first]
            path = member.target_path if member.is_alias else member.path
            return f"{path}.{rest}" if rest else path
        scope = scope.parent
    return None
