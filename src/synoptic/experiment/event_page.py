"""The tables of docs/events.md, from the schema: ``python -m synoptic.experiment.event_page docs/events.md``."""

from __future__ import annotations

import sys
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from synoptic.core.files import write_text
from synoptic.experiment.event_schema import EVENTS, Summary

BEGIN, END = "<!-- written by `python -m synoptic.experiment.event_page docs/events.md` -->\n", "<!-- end -->"
NAMES: dict[Any, str] = {int: "integer", float: "number", str: "string", bool: "boolean", NoneType: "null"}


def tables() -> str:
    """Every type of event with its fields, then the summary's."""
    parts = [f"### `{name}`\n\n{_section(event)}" for name, event in EVENTS.items()]
    return "\n".join([*parts, f"### The summary\n\n{_section(Summary)}"])


def with_tables(page: str) -> str:
    """The page with what stands between its two marks written anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


def _section(event: type[BaseModel]) -> str:
    about = " ".join((event.__doc__ or "").split())
    # The time is a field of all; it comes last.
    fields = sorted(event.model_fields.items(), key=lambda item: item[0] == "time")
    rows = [f"| `{field.alias or name}` | {_type(field.annotation)} | {field.description} |"
            for name, field in fields if name != "type"]  # fmt: skip
    return "\n".join([about, "", "| field | type | what |", "|---|---|---|", *rows, ""])


def _type(annotation: Any) -> str:
    """A field's type in JSON's words."""
    parts = get_args(annotation)
    if get_origin(annotation) is dict:
        return "object" if parts[1] is Any else f"object of {_type(parts[1])}"
    if parts:
        return " or ".join(_type(part) for part in parts)
    return NAMES.get(annotation, "object")


if __name__ == "__main__":
    path = Path(sys.argv[1])
    write_text(path, with_tables(path.read_text(encoding="utf-8")))
