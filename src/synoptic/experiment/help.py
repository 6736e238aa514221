"""Help on a recipe's keys, written by the sections themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from synoptic.core.config import Section
from synoptic.experiment.keys import Key, allowed, child_section, default_text
from synoptic.experiment.recipe import MethodSpec, Recipe

EXAMPLES = {
    "run": (
        "synoptic run fedavg",
        "synoptic run fedavg data=world data.partition=dirichlet data.partition.alpha=0.1 rounds=20",
        "synoptic run recipe.yaml data.path=/path/to/data train.lr=0.01",
        "synoptic run --resume runs/ID",
    ),
    "compare": (
        "synoptic compare zeroshot local fedavg promptfl --seeds 3",
        "synoptic compare fedavg fedprox:method.mu=0.1 data=world rounds=5 --baseline fedavg",
        "synoptic compare suite.yaml --report report.html",
    ),
    "inspect": (
        "synoptic data inspect fedavg data.clients=20 --out who.png",
        "synoptic data inspect recipe.yaml data.partition.alpha=0.1",
    ),
    "serve": (
        "synoptic serve fedavg data.clients=3 --insecure",
        "synoptic serve recipe.yaml --listen 0.0.0.0:8000 --tls server.crt server.key --clients clients",
        "synoptic serve --resume runs/ID --insecure",
    ),
}

LONGEST = 30
"""Letters of a default beyond which help only says that there is a list; the reference has all of it."""

Group = tuple[str, str, list[Key]]


class Formatter(Protocol):
    """The part of click's formatter that is needed."""

    def write_paragraph(self) -> None:
        """An empty line."""

    def write_text(self, text: str) -> None:
        """Wrapped text."""

    def write_heading(self, heading: str) -> None:
        """A heading."""

    def write_dl(self, rows: list[tuple[str, str]]) -> None:
        """Two columns."""

    def indent(self) -> None:
        """Start of an indented part."""

    def dedent(self) -> None:
        """End of it."""


def write_examples(formatter: Formatter, command: str) -> None:
    """Commands to start from."""
    _part(formatter, "Examples")
    for example in EXAMPLES[command]:
        formatter.write_text(example)
    formatter.dedent()


def write_keys(formatter: Formatter) -> None:
    """Every key with its default and what it is for, section by section."""
    for name, about, rows in key_groups():
        _part(formatter, name or "Keys (KEY=VALUE)")
        if about:
            formatter.write_text(about)
            formatter.write_paragraph()
        formatter.write_dl([(f"{key.name}={_short(key.default)}", key.description) for key in rows])
        formatter.dedent()


def _short(default: str) -> str:
    """A default that fits beside its key; of a long list that it is one."""
    return "..." if not default else default if len(default) <= LONGEST else f"{default[0]}...{default[-1]}"


def key_groups(section: type[Section] = Recipe, prefix: str = "") -> Iterator[Group]:
    """Name, meaning and keys of each section, plain keys of the whole recipe first.

    A section that occurs twice (the two towers) is listed once, and then referred to.
    """
    yield from _groups(section, prefix, {})


def _groups(section: type[Section], prefix: str, seen: dict[type[Section], str]) -> Iterator[Group]:
    plain, inner = [], []
    for name, field in section.model_fields.items():
        child = child_section(section, name)
        if child is MethodSpec:
            plain.append(Key("method", "", "a method and, below it, its settings; `synoptic methods` lists both"))
        elif child is None:
            plain.append(Key(f"{prefix}{name}", default_text(field),
                             field.description or allowed(field.annotation, field.metadata)))  # fmt: skip
        elif child in seen:
            plain.append(Key(f"{prefix}{name}", "", f"as {seen[child]}"))
        else:
            seen[child] = f"{prefix}{name}"
            inner.append((child, f"{prefix}{name}"))
    if plain:
        about = (section.__doc__ or "").splitlines()[0].replace("`", "") if prefix else ""
        yield prefix.rstrip("."), about, plain
    for child, name in inner:
        yield from _groups(child, f"{name}.", seen)


def _part(formatter: Formatter, heading: str) -> None:
    formatter.write_paragraph()
    formatter.write_heading(heading)
    formatter.indent()
