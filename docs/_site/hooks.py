"""What the site takes from the code while it is built: sections that fill themselves, commands, keys of a recipe."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

WIDTH = 78
"""Columns of a command's help on the site."""

CELL = re.compile(r"<td[^>]*>.*?</td>", re.DOTALL)
CODE = re.compile(r"(?<=<code>)[^<]+(?=</code>)")
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)\)")


def on_config(config: Any) -> Any:
    """Replace ``folder/*`` in the navigation by the pages there that it does not name; leave out what is not there."""
    folder = Path(config["docs_dir"])
    named = set(_pages(config["nav"]))
    config["nav"] = _filled(config["nav"], folder, named)
    return config


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Fill the places that a page leaves for the code; what lies outside the site is named instead of linked."""
    for mark, write in GENERATED.items():
        if mark in markdown:
            markdown = markdown.replace(mark, write())
    folder, site = Path(page.file.abs_src_path).parent, Path(config["docs_dir"])
    return LINK.sub(lambda found: _inside(found, folder, site), markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Let long names in tables break where their words do."""
    return CELL.sub(lambda cell: CODE.sub(lambda code: re.sub(r"(?<=[_/])(?=.)", "<wbr>", code[0]), cell[0]), html)


def _pages(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    for item in nav if isinstance(nav, list) else nav.values() if isinstance(nav, dict) else ():
        yield from _pages(item)


def _filled(nav: list[Any], folder: Path, named: set[str]) -> list[Any]:
    filled: list[Any] = []
    for item in nav:
        if isinstance(item, dict):
            filled.append({title: _filled(inner, folder, named) for title, inner in item.items()})
        elif item.endswith("/*"):
            found = sorted(str(path.relative_to(folder)) for path in folder.glob(f"{item}.md"))
            filled += [path for path in found if path not in named]
        elif (folder / item).exists():
            filled.append(item)
    return filled


def _inside(found: re.Match[str], folder: Path, site: Path) -> str:
    """A link as it stands, or its words and the file's place in the repository if that is not part of the site."""
    text, target = found[1], (folder / found[2]).resolve()
    if "://" in found[2] or target.is_relative_to(site) or not target.exists():
        return found[0]
    return f"{text} (`{target.relative_to(site.parent)}`)"


def commands() -> str:
    """Every command's own help."""
    import typer.main

    from synoptic.cli import app

    return "\n\n".join(_helps(typer.main.get_command(app), "synoptic"))


def _helps(command: click.Command, name: str) -> Iterator[str]:
    context = click.Context(command, info_name=name, terminal_width=WIDTH, max_content_width=WIDTH)
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from _helps(inner, f"{name} {inner.name}")
        return
    # The keys of a recipe have a page of their own.
    text = command.get_help(context).partition("\nKeys (KEY=VALUE):")[0].rstrip()
    yield f"## {name}\n\n```text\n{text}\n```"


def methods() -> str:
    """A reference for the module of each method of the package."""
    from synoptic.methods.base import registry

    values = [point.value.partition(":")[0] for point in registry().values()]
    return "\n".join(f"::: {module}" for module in values if module.startswith("synoptic."))


def recipe_keys() -> str:
    """Every key of a recipe, section by section, then those of each method."""
    from synoptic.experiment.catalogue import methods_table
    from synoptic.experiment.help import key_groups

    parts = [_keys(name or "The whole", about, rows) for name, about, rows in key_groups()]
    own = [_keys(f"method={row.name}", row.summary, row.settings, 3) for row in methods_table() if row.settings]
    return "\n\n".join([*parts, "## Settings of methods", *own])


def _keys(title: str, about: str, rows: Any, level: int = 2) -> str:
    lines = [f"{'#' * level} {title}", "", about, "", "| key | default | meaning |", "|---|---|---|"]
    return "\n".join([*lines, *(_row(row) for row in rows)])


def _row(key: Any) -> str:
    return f"| `{key.name}` | {f'`{key.default}`' if key.default else ''} | {_cell(key.description)} |"


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("{", "&#123;").replace("<", "&lt;")


GENERATED: dict[str, Callable[[], str]] = {
    "<!-- commands -->": commands,
    "<!-- methods -->": methods,
    "<!-- recipe keys -->": recipe_keys,
}
"""What stands in a page's text -> who writes it."""
