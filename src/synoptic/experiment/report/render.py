"""The page as HTML: templates, colours, legends, and a glossary of the words that were used."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from synoptic.experiment.comparison.columns import Column
from synoptic.experiment.report.palette import DARK, LIGHT, custom_properties, dash, marker, series_colour
from synoptic.experiment.report.parts import Block, Key
from synoptic.experiment.report.terms import anchor, glossary, meaning

SHAPES: Final = {
    "o": "M17 2.6a3.4 3.4 0 1 0 .01 0z",
    "s": "M14 3h6v6h-6z",
    "^": "M17 2.2l3.8 7h-7.6z",
    "D": "M17 1.8l4.2 4.2-4.2 4.2-4.2-4.2z",
    "v": "M17 9.8l3.8-7h-7.6z",
    "X": "M13.8 4.2l1.6-1.6 1.6 1.6 1.6-1.6 1.6 1.6L18.6 6l1.6 1.8-1.6 1.6-1.6-1.6-1.6 1.6-1.6-1.6L15.4 6z",
    "P": "M15.6 2.4h2.8v2.2h2.2v2.8h-2.2v2.2h-2.8v-2.2h-2.2V4.6h2.2z",
    "*": "M17 1.4l1.3 3.2 3.4.2-2.6 2.2.8 3.3-2.9-1.8-2.9 1.8.8-3.3-2.6-2.2 3.4-.2z",
}
"""matplotlib's markers, drawn around (17, 6)."""

ALWAYS: Final = ("± and intervals", "difference", "seed", "n/a", "shared", "personal")
"""Words that stand in texts and captions, where nothing is linked."""

STROKES: Final = {"-": "", "--": "7 3", "-.": "7 2 2 2", ":": "2 2.5"}


@dataclass(frozen=True)
class Part:
    """One condition on the page: its title (empty for a single one), its first sentence, its blocks."""

    title: str
    name: str
    headline: str
    blocks: tuple[Block, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """The whole page, not yet HTML."""

    title: str
    notices: tuple[str, ...]
    common: tuple[Block, ...]
    parts: tuple[Part, ...]
    columns: tuple[Column, ...]
    asks: bool = False


class Glossary:
    """Definitions, and which of them the page has used so far."""

    def __init__(self, columns: tuple[Column, ...], asks: bool = False) -> None:
        self._known = glossary(columns, asks)
        self._used: set[str] = set()

    def find(self, text: str) -> dict[str, str] | None:
        """Anchor and definition of a heading, or None; the word is noted as used."""
        word = meaning(text, self._known)
        if word is None:
            return None
        self._used.add(word)
        return {"anchor": anchor(word), "definition": self._known[word]}

    def used(self) -> list[tuple[str, str, str]]:
        """Word, anchor and definition of all that were used, by alphabet."""
        for word in ALWAYS:
            self._used.add(word)
        return [(word, anchor(word), self._known[word]) for word in sorted(self._used, key=str.lower)]


def render(page: Page) -> str:
    """The page as one file that needs nothing else."""
    environment = Environment(
        loader=PackageLoader("synoptic.experiment.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    words = Glossary(page.columns, page.asks)
    environment.filters["breakable"] = breakable
    environment.globals.update(find=words.find, used=words.used, swatch=swatch, drawn=Markup, ident=_ident)
    css = environment.loader.get_source(environment, "report.css")[0] if environment.loader else ""
    values: dict[str, Any] = {
        "page": page, "css": Markup(css), "light": Markup(custom_properties(LIGHT)),
        "dark": Markup(custom_properties(DARK)),
    }  # fmt: skip
    return environment.get_template("report.html.j2").render(values)


def breakable(text: str) -> Markup:
    """A dotted key that may be broken at its dots, and nowhere worse."""
    return Markup(re.sub(r"(?<=\w)([._])(?=\w)", r"\1<wbr>", str(escape(text))))


def swatch(key: Key) -> Markup:
    """The small drawing before a legend's entry: line and marker of a series, or a filled square."""
    head = '<svg class="swatch" viewBox="0 0 34 12" aria-hidden="true">'
    if key.series is None:
        return Markup(f'{head}<path d="M10 0h14v12H10z" style="fill: var(--{key.fill})"/></svg>')
    colour = f"var(--{series_colour(key.series)})"
    line = "" if key.dots else _line(colour, key)
    return Markup(f'{head}{line}<path d="{SHAPES[marker(key.series)]}" style="fill: {colour}"/></svg>')


def _line(colour: str, key: Key) -> str:
    assert key.series is not None, "only series have lines"
    stroke = STROKES[dash(key.series)]
    dashes = f' stroke-dasharray="{stroke}"' if stroke else ""
    width = 1 if key.faint else 2
    return f'<path d="M1 6h32" style="stroke: {colour}; stroke-width: {width}; fill: none"{dashes}/>'


def _ident(*words: str) -> str:
    """An id from words that are known to be simple."""
    return "-".join("".join(letter if letter.isalnum() else "-" for letter in word.lower()) for word in words if word)
