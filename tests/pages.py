"""Reading the documentation: pages, fenced blocks, sections, tables, commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FENCE = re.compile(
    r"^(?P<fence>`{3,})(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?[^\n]*\n(?P<text>.*?)^(?P=fence)$",
    re.DOTALL | re.MULTILINE,
)
RULE = re.compile(r"\|[-| :]+\|$")
"""The line between a table's heading and its rows."""


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    language: str
    text: str
    title: str | None = None


def pages() -> list[str]:
    """All Markdown pages, relative to the repository."""
    return sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def read(page: str) -> str:
    """The text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(text: str, *languages: str) -> list[Block]:
    """Fenced blocks in order, of all languages if none is named."""
    found = [Block(match["language"], match["text"], match["title"]) for match in FENCE.finditer(text)]
    return [block for block in found if not languages or block.language in languages]


def commands(text: str) -> Iterator[list[str]]:
    """Every `synoptic ...` line of the fenced blocks, taken apart as a shell would; forms to fill in are left out."""
    for block in blocks(text, "", "bash", "console", "text"):
        for line in block.text.replace("\\\n", " ").splitlines():
            words = line.strip().removeprefix("$ ")
            if words.startswith("synoptic "):
                yield shlex.split(words, comments=True)[1:]


def sections(text: str) -> dict[str, str]:
    """Text below each heading of the second level, by heading; what comes before the first is under the empty name."""
    bare = FENCE.sub(lambda match: match[0].replace("\n#", "\n\x00#"), text)
    parts = re.split(r"^## (.+)$", bare, flags=re.MULTILINE)
    named = dict(zip(["", *parts[1::2]], parts[0::2], strict=True))
    return {name: part.replace("\x00", "").strip() for name, part in named.items()}


def rows(text: str) -> list[list[str]]:
    """Cells of a section's tables, headings left out."""
    lines = text.splitlines()
    rules = [place for place, line in enumerate(lines) if RULE.match(line)]
    skipped = {*rules, *(place - 1 for place in rules)}
    body = [line for place, line in enumerate(lines) if line.startswith("|") and place not in skipped]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in body]
