"""The page in a real browser: nothing on the console, nothing from the network, nothing wider than the screen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from browser import Browser, browser, installed
from synoptic.experiment.report import write_report
from synoptic.experiment.report.gather import gather
from written import write_run

pytestmark = pytest.mark.skipif(installed() is None, reason="no Chromium is installed")

LONG = "a-very-long-name-without-any-place-to-break-it-" * 3


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of long and odd names, several conditions, claims and an unfinished run."""
    folder = tmp_path_factory.mktemp("odd")
    clients = {f"{LONG}{k}": {"examples": 5.0, "shared/local/accuracy": k / 9} for k in range(9)}
    write_run(folder / LONG, clients=clients, log={LONG: 1.0, f"router/{LONG}": 1.0}, domain=LONG)
    write_run(folder / "b", "fedprox", f"data.template={LONG} {{}}", clients=clients)
    write_run(folder / "c", "fedprox", finished=False, done=2)
    claim = {"id": LONG, "statement": LONG, "verdict": "fails", "source": LONG, "relation": LONG}
    return write_report(gather([folder]).groups, folder / "odd.html", title=LONG, claims=[claim])


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("which", ["page", "odd"])
def test_it_opens_without_a_word(
    tab: Browser, request: pytest.FixtureRequest, which: str, width: int, dark: bool
) -> None:
    path: Path = request.getfixturevalue(which)
    seen = tab.open(path, width, dark)
    tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert tab.evaluate("innerWidth") == width
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate("[...document.images].every(one => one.naturalWidth > 0)")
    assert seen.errors == []
    assert [url for url in seen.requests if not url.startswith("data:")] == [path.resolve().as_uri()]


def test_a_page_that_does_not_keep_quiet_is_noticed(tab: Browser, tmp_path: Path) -> None:
    page = tmp_path / "loud.html"
    page.write_text("<script>console.error('x')</script><img src='http://127.0.0.1:9/x.png'><p style='width:999px'>")
    seen = tab.open(page, 360, dark=False)
    assert tab.evaluate("document.documentElement.scrollWidth") > 360
    assert any("'x'" in error for error in seen.errors)
    assert "http://127.0.0.1:9/x.png" in seen.requests


@pytest.mark.parametrize(("dark", "colour"), [(False, "rgb(246, 245, 241)"), (True, "rgb(18, 20, 23)")])
def test_it_follows_the_preferred_scheme_and_the_button_turns_it(
    tab: Browser, page: Path, dark: bool, colour: str
) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    tab.open(page, 1280, dark)
    assert tab.evaluate(ground) == colour
    assert tab.evaluate("document.getElementById('theme').textContent") == ("Light" if dark else "Dark")
    tab.evaluate("document.getElementById('theme').click()")
    assert tab.evaluate(ground) != colour
    tab.evaluate("document.getElementById('theme').click()")
    assert tab.evaluate(ground) == colour


def test_drawings_take_the_pages_colours(tab: Browser, page: Path) -> None:
    ink = "getComputedStyle(document.querySelector('svg.drawing text')).fill"
    tab.open(page, 1280, dark=False)
    light = tab.evaluate(ink)
    tab.open(page, 1280, dark=True)
    assert light == "rgb(90, 95, 102)"
    assert tab.evaluate(ink) == "rgb(165, 168, 173)"


def test_letters_of_drawings_can_be_read_on_a_phone(tab: Browser, page: Path) -> None:
    tab.open(page, 360, dark=False)
    # Of all texts in drawings, the height of the smallest line box.
    sizes = tab.evaluate(
        "[...document.querySelectorAll('svg.drawing')].map(svg => svg.getBoundingClientRect().width "
        "/ svg.viewBox.baseVal.width * Math.min(...[...svg.querySelectorAll('text')].map(text => "
        "parseFloat(getComputedStyle(text).fontSize))))"
    )
    assert len(sizes) > 10
    assert min(sizes) > 9.5


def test_texts_stay_inside_their_drawings(tab: Browser, page: Path) -> None:
    tab.open(page, 360, dark=False)
    outside = tab.evaluate(
        "[...document.querySelectorAll('svg.drawing text')].filter(text => { const a = text.getBoundingClientRect(), "
        "b = text.closest('figure').getBoundingClientRect(); return a.left < b.left || a.right > b.right; })"
        ".map(text => text.textContent)"
    )
    assert outside == []


def test_a_definition_is_a_touch_away(tab: Browser, page: Path) -> None:
    tab.open(page, 360, dark=False)
    tab.evaluate("document.querySelector('a.term').click()")
    assert tab.evaluate("document.querySelector(':target dd').textContent.length") > 10
