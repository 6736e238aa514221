from __future__ import annotations

import math
from itertools import combinations

import pytest

from synoptic.experiment.report.palette import (
    DARK,
    DASHES,
    LEVELS,
    LIGHT,
    MARKERS,
    SERIES,
    contrast,
    dash,
    marker,
    sentinel,
    series_colour,
    themed,
)

THEMES = pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
# Machado, Oliveira & Fernandes (2009), severity 1, on linear RGB.
SEEN = {
    "normal": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)),
}


def lab(colour: str, eyes: str) -> tuple[float, float, float]:
    """CIE Lab of a colour as these eyes see it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    seen = [min(1.0, max(0.0, sum(m * part for m, part in zip(row, linear, strict=True)))) for row in SEEN[eyes]]
    rows = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    xyz = [sum(m * part for m, part in zip(row, seen, strict=True)) for row in rows]
    f = [(v / w) ** (1 / 3) if v / w > 0.008856 else 7.787 * v / w + 16 / 116
         for v, w in zip(xyz, (0.9505, 1.0, 1.089), strict=True)]  # fmt: skip
    return 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@THEMES
def test_text_can_be_read(colours: dict[str, str]) -> None:
    for text in ("ink", "muted", "link", "good", "bad", "open"):
        for ground in ("page", "card"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for text in ("ink", "muted"):
        assert contrast(colours[text], colours["tint"]) >= 4.5
    for level in range(LEVELS):
        assert contrast(colours[f"t{level}"], colours[f"h{level}"]) >= 4.5, level


@THEMES
def test_lines_and_bars_can_be_seen(colours: dict[str, str]) -> None:
    for name in [*(f"s{number}" for number in range(SERIES)), "axis"]:
        for ground in ("page", "card"):
            assert contrast(colours[name], colours[ground]) >= 3, (name, ground)


@THEMES
@pytest.mark.parametrize("eyes", SEEN)
def test_series_stay_apart_for_all_eyes(colours: dict[str, str], eyes: str) -> None:
    seen = {number: lab(colours[f"s{number}"], eyes) for number in range(SERIES)}
    # 2.3 is a just noticeable difference in Lab.
    assert min(math.dist(seen[a], seen[b]) for a, b in combinations(seen, 2)) > 15


@THEMES
def test_a_stronger_shade_stands_out_more(colours: dict[str, str]) -> None:
    steps = [contrast(colours[f"h{level}"], colours["card"]) for level in range(LEVELS)]
    assert steps == sorted(steps)


def test_both_themes_have_the_same_colours() -> None:
    assert LIGHT.keys() == DARK.keys()


def test_every_series_has_a_look_of_its_own() -> None:
    looks = {(series_colour(number), marker(number), dash(number)) for number in range(4 * SERIES)}
    assert len(looks) == 4 * SERIES
    assert len(MARKERS) == SERIES
    assert len({marker(number) for number in range(SERIES)}) == SERIES
    assert {dash(number) for number in range(SERIES)} == set(DASHES)


def test_drawn_colours_become_the_pages() -> None:
    assert themed(f"fill: {sentinel('ink')}; stroke: {sentinel('s3')}; color: #123456") == (
        "fill: var(--ink); stroke: var(--s3); color: #123456"
    )
