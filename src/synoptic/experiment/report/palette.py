"""Colours of the page, for light and dark, and the marks that tell series apart without them.

The series colours start from those of Okabe and Ito (2008) and were moved so that every pair stays apart under
simulated protanopia, deuteranopia and tritanopia (Machado et al. 2009) and every colour stays 3:1 against both
backgrounds; a test computes both.
"""

from __future__ import annotations

from typing import Final

LIGHT: Final = {
    "page": "#f6f5f1", "card": "#ffffff", "ink": "#1c1e21", "muted": "#5a5f66", "rule": "#dcdad3", "grid": "#e4e2dc",
    "axis": "#85888d", "link": "#00559e", "good": "#1c6b42", "bad": "#9c1c1c", "open": "#6b5200", "tint": "#eeece5",
    "s0": "#00408e", "s1": "#bd7b09", "s2": "#217448", "s3": "#8e4576", "s4": "#0094cb", "s5": "#a81212",
    "s6": "#000e24", "s7": "#4b0a00",
    "h0": "#eef4fb", "h1": "#d6e5f4", "h2": "#bad3ec", "h3": "#9abfe1", "h4": "#78a8d3", "h5": "#386faf",
    "h6": "#25599a", "h7": "#16437f", "h8": "#0a2c5c",
    "t0": "#1c1e21", "t1": "#1c1e21", "t2": "#1c1e21", "t3": "#1c1e21", "t4": "#10141a", "t5": "#ffffff",
    "t6": "#ffffff", "t7": "#ffffff", "t8": "#ffffff",
}  # fmt: skip

DARK: Final = {
    "page": "#121417", "card": "#1b1e23", "ink": "#ebe9e4", "muted": "#a5a8ad", "rule": "#34383f", "grid": "#2c3037",
    "axis": "#7d828a", "link": "#84c1f5", "good": "#5fcb93", "bad": "#ff8c82", "open": "#e3bd4d", "tint": "#252930",
    "s0": "#2284dc", "s1": "#de8400", "s2": "#12b579", "s3": "#b06093", "s4": "#a4d9ff", "s5": "#e04545",
    "s6": "#eaffcb", "s7": "#fde300",
    "h0": "#1f2a37", "h1": "#213449", "h2": "#23405d", "h3": "#254d74", "h4": "#285b8c", "h5": "#5d9fd8",
    "h6": "#80b8e6", "h7": "#a6d0f2", "h8": "#d0e7fb",
    "t0": "#ebe9e4", "t1": "#ebe9e4", "t2": "#ebe9e4", "t3": "#ffffff", "t4": "#ffffff", "t5": "#0a0f15",
    "t6": "#0a0f15", "t7": "#0a0f15", "t8": "#0a0f15",
}  # fmt: skip

SERIES: Final = 8
LEVELS: Final = 9

MARKERS: Final = ("o", "s", "^", "D", "v", "X", "P", "*")
"""One for each series, in matplotlib's letters."""

DASHES: Final = ("-", "--", "-.", ":")
"""Line styles; with more series than colours the same colour comes back with another one."""

_SENTINEL: Final = {name: f"#fe01{place:02x}" for place, name in enumerate(LIGHT)}


def sentinel(name: str) -> str:
    """A colour to draw with that `themed` turns into the page's colour of this name."""
    return _SENTINEL[name]


def themed(svg: str) -> str:
    """Drawn colours replaced by the page's, so that a drawing follows light and dark."""
    for name, colour in _SENTINEL.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg


def series_colour(number: int) -> str:
    """Name of a series' colour."""
    return f"s{number % SERIES}"


def marker(number: int) -> str:
    """A series' marker, in matplotlib's letter."""
    return MARKERS[(number + number // SERIES) % len(MARKERS)]


def dash(number: int) -> str:
    """A series' line style."""
    return DASHES[(number + number // SERIES) % len(DASHES)]


def custom_properties(colours: dict[str, str]) -> str:
    """CSS that sets the colours."""
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())


def contrast(one: str, two: str) -> float:
    """Contrast ratio of two colours, 1 to 21 (WCAG 2.2)."""
    light, dark = sorted((luminance(one), luminance(two)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb`` (WCAG 2.2)."""
    red, green, blue = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (red, green, blue)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
