"""Drawing with matplotlib for inline use: text stays text, colours follow the page, equal input gives equal bytes.

A drawing is `WIDTH` points wide and is shown at about that many pixels on a phone, so its letters keep their size.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any, Final

from synoptic.experiment.report.palette import dash, marker, sentinel, series_colour, themed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH: Final = 300
"""Points, a little over 4 inches."""

TEXT: Final = 11.5
"""Points of letters."""

_RC: Final[Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "synoptic", "text.parse_math": False, "font.size": TEXT,
    "axes.titlesize": TEXT, "axes.labelsize": TEXT, "xtick.labelsize": TEXT, "ytick.labelsize": TEXT,
    "axes.unicode_minus": True, "path.simplify": False, "hatch.linewidth": 1.2, "font.family": "DejaVu Sans",
}  # fmt: skip


@contextmanager
def drawing(height: float, margins: tuple[float, float, float, float]) -> Iterator[tuple[Figure, Axes]]:
    """A figure of `WIDTH` by ``height`` points and its axes.

    Args:
        height: points.
        margins: points left, right, top and bottom of the axes.
    """
    from matplotlib import rc_context, style
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # Whatever a user's own matplotlibrc says, the page looks the same.
    with style.context("default"), rc_context(_RC):
        figure = Figure(figsize=(WIDTH / 72, height / 72))
        FigureCanvasSVG(figure)
        left, right, top, bottom = margins
        box = (left / WIDTH, bottom / height, (WIDTH - left - right) / WIDTH, (height - top - bottom) / height)
        axes = figure.add_axes(box)
        figure.patch.set_visible(False)
        axes.patch.set_visible(False)
        yield figure, axes


def plain(axes: Axes, grid: str = "") -> None:
    """Two thin axes at most, grid lines across one direction (``x`` or ``y``)."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(sentinel("axis"))
    axes.tick_params(length=0, colors=sentinel("muted"), pad=4)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=sentinel("grid"), linewidth=0.8)  # type: ignore[arg-type]


def line_look(number: int) -> dict[str, Any]:
    """Colour, line style and marker of a series."""
    colour = sentinel(series_colour(number))
    return {"color": colour, "linestyle": dash(number), "marker": marker(number), "linewidth": 1.8, "markersize": 5.5,
            "markeredgewidth": 0, "clip_on": False}  # fmt: skip


def svg(figure: Figure, name: str, label: str) -> str:
    """The drawing as an inline element.

    Args:
        figure: what was drawn.
        name: unique on the page; begins the ids that the drawing needs inside.
        label: what a screen reader says.
    """
    file = io.StringIO()
    with warnings.catch_warnings():
        # Letters that the layout's font lacks are still there: the page's font draws them.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        figure.savefig(file, format="svg", metadata={"Date": None})
    return _cleaned(file.getvalue(), name, label)


def identifier(*words: str) -> str:
    """A short id for these words, whatever letters they have."""
    return "g" + hashlib.blake2b("\x1f".join(words).encode(), digest_size=5).hexdigest()


def _cleaned(text: str, name: str, label: str) -> str:
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)
    # The page's font; widths were laid out with a broad one, so nothing runs over.
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    used = set(re.findall(r"(?:href=\"#|url\(#)([^\")]+)", body))
    body = re.sub(r' id="([^"]+)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", body)
    body = re.sub(r"(href=\"#|url\(#)", rf"\g<1>{name}-", body)
    body = re.sub(r"<defs>\s*</defs>|<g>\s*</g>", "", body)
    # Two decimals of a point are enough for places; numbers in texts stay as they are.
    body = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d+\.\d{2})\d+", r"\1", tag[0]), body)
    body = re.sub(r"\s*\n\s*", " ", body).strip()
    size = re.search(r'viewBox="([^"]+)"', body)
    assert size is not None, "matplotlib writes a viewBox"
    head = f'<svg class="drawing" viewBox="{size[1]}" role="img" aria-label="{escape(label)}">'
    return themed(head + body[body.index(">") + 1 :])
