"""What a page is made of: tables, figures with their tables, pictures with answers, and blocks that hold them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DASH = "\u2013"
"""Stands where there is no value."""

MINUS = "\u2212"

FIXED = "\u00a0"
"""A space at which no line is broken."""

NUMBERED = 60
"""Rows of a data table; of more, evenly spaced ones are kept and the table says so."""


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: what stands there.
        note: a second, smaller line.
        strong: whether it is set in bold.
        level: its colour in a heat map, 0 to 8; None: plain.
        absent: whether the text says that there is no value.
    """

    text: str
    note: str = ""
    strong: bool = False
    level: int | None = None
    absent: bool = False


@dataclass(frozen=True)
class Grid:
    """A table: the first column names the rows, the others hold values.

    Attributes:
        head: headings; none for a table without.
        rows: as many cells each as there are headings.
        caption: what a reader must know about it.
        words: whether the values are words, which are set flush left.
        linked: how many headings, from the left, may be words of the glossary; others are names that somebody chose.
        rows_linked: whether the rows' names are words of the glossary.
        scale: for a heat map, what its lightest and darkest colour stand for.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    words: bool = False
    linked: int = 1
    rows_linked: bool = False
    scale: tuple[str, str] | None = None


@dataclass(frozen=True)
class Key:
    """One entry of a legend.

    Attributes:
        name: what it says.
        series: number of a series; None for a part of a bar.
        fill: colour of a part of a bar.
        dots: whether the series has dots and no line.
        faint: whether its line is thin.
    """

    name: str
    series: int | None = None
    fill: str = ""
    dots: bool = False
    faint: bool = False


@dataclass(frozen=True)
class Figure:
    """A drawing, what one sees on it, and its numbers; ``scale`` is that of a heat map."""

    title: str
    about: str
    svg: str
    grid: Grid
    keys: tuple[Key, ...] = ()
    scale: tuple[str, str] | None = None


@dataclass(frozen=True)
class Answer:
    """What somebody answered to an example.

    Attributes:
        who: ``before``, or a series' name.
        text: a class name, or a whole answer in words.
        share: probability that the model gave it; None where there is none.
        right: whether it is the truth; None where nobody can say.
    """

    who: str
    text: str
    share: float | None = None
    right: bool | None = None


@dataclass(frozen=True)
class Example:
    """A picture or a question (or both), the truth where there is one, and the answers before and after.

    Attributes:
        picture: a data URI; empty without a picture.
        question: what was asked; empty where it goes without saying.
        truth: the right answer; empty where there is none.
        part: ``base`` or ``novel``, or another word for where it comes from.
        answers: in order, ``before`` first.
    """

    picture: str
    question: str
    truth: str
    part: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Fold:
    """Something long that is shut at first."""

    title: str
    grid: Grid


@dataclass(frozen=True)
class Block:
    """A titled part of the page; whatever it has is shown in the order of these fields."""

    title: str
    about: tuple[str, ...] = ()
    grids: tuple[Grid, ...] = ()
    figures: tuple[Figure, ...] = ()
    examples: tuple[Example, ...] = ()
    notes: tuple[str, ...] = ()
    folds: tuple[Fold, ...] = ()


def row(*cells: str | Cell) -> tuple[Cell, ...]:
    """Cells, plain texts among them."""
    return tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in cells)


def thinned(count: int, most: int = NUMBERED) -> list[int]:
    """At most so many of ``count`` places, evenly spaced, first and last among them."""
    if count <= most:
        return list(range(count))
    return sorted({round(place * (count - 1) / (most - 1)) for place in range(most)})


def and_list(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else ""


def plural(count: int, word: str, many: str = "") -> str:
    """``1 round``, ``3 rounds``, ``1,000 clients``; ``many`` where it is not the word and an s."""
    return f"{count:,} {word if count == 1 else many or f'{word}s'}"


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    return f"{text[:1].upper()}{text[1:]}."


def signed(text: str) -> str:
    """The text with real minus signs before its numbers; hyphens stay."""
    return re.sub(r"(?<![\w])-(?=\d)", MINUS, text)


def placeless(text: str, folder: Path) -> str:
    """The text with a run's folder by its name alone: where it lies is nobody's business on a page that is shared."""
    return text.replace(f"{folder.parent}{os.sep}", "")


def shortened(text: str, most: int) -> str:
    """The text, or its beginning with an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"
