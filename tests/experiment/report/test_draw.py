from __future__ import annotations

import re
import warnings
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from synoptic.experiment.report.draw import WIDTH, drawing, identifier, line_look, plain, svg
from synoptic.experiment.report.palette import sentinel

NASTY = 'a<b> & "c" $x_1$ 0.123456 好'


def drawn(name: str = "one", label: str = "A drawing.") -> str:
    with drawing(100, (20, 10, 10, 20)) as (figure, axes):
        plain(axes, "y")
        axes.plot([0, 1, 2], [1, 3, 2], **line_look(1))
        axes.fill_between([0, 1, 2], [0, 1, 1], [2, 4, 3], color=sentinel("s1"), alpha=0.2)
        axes.set_title(NASTY)
        return svg(figure, name, label)


def test_text_stays_text_in_the_pages_font_and_colours() -> None:
    picture = drawn()
    root = ElementTree.fromstring(picture.replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1))
    assert root.get("viewBox") == f"0 0 {WIDTH} 100"
    assert NASTY in [element.text for element in root.iter("text")], "dollars are no mathematics"
    assert "var(--s1)" in picture
    assert "#fe01" not in picture
    for unwanted in ("font-family", "<style", "metadata", "DOCTYPE", "2026", "Matplotlib"):
        assert unwanted not in picture


def test_a_screen_reader_hears_the_label() -> None:
    assert 'role="img" aria-label="So &quot;much&quot; &lt;more&gt;."' in drawn(label='So "much" <more>.')


def test_ids_are_the_drawings_own_and_all_are_used() -> None:
    one, two = drawn("one"), drawn("two")
    ids = [set(re.findall(r' id="([^"]+)"', picture)) for picture in (one, two)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert all(name.startswith("one-") for name in ids[0])
    assert ids[0] == set(re.findall(r'(?:href="#|url\(#)([^")]+)', one))


def test_the_same_drawing_has_the_same_bytes_whatever_the_users_settings() -> None:
    before = drawn()
    with mpl.rc_context({"font.size": 30, "axes.grid": True, "lines.linewidth": 9, "svg.fonttype": "path"}):
        assert drawn() == before


def test_letters_without_a_glyph_warn_nobody() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn()


def test_identifiers_tell_words_apart() -> None:
    assert identifier("a", "bc") != identifier("ab", "c")
    assert identifier("ä") != identifier("ö")
    assert re.fullmatch(r"g[0-9a-f]{10}", identifier("a <b>")) is not None


@pytest.mark.parametrize("number", range(12))
def test_every_series_can_be_drawn(number: int) -> None:
    with drawing(60, (5, 5, 5, 5)) as (figure, axes):
        axes.plot([0, 1], [0, 1], **line_look(number))
        assert "<use" in svg(figure, "x", "x"), "a marker"
