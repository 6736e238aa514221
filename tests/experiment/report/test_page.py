from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from finished import finished
from measured import write_utilities
from synoptic.core import SynopticError
from synoptic.core.files import write_text
from synoptic.experiment.folder import RunFolder, writing
from synoptic.experiment.report import write_report
from synoptic.experiment.report.gather import gather
from synoptic.experiment.report.page import Request, make_page
from synoptic.experiment.report.parts import Answer, Block, Example
from synoptic.experiment.report.render import Page, Part, breakable, render
from written import write_run

VOID = {"meta", "link", "img", "br", "wbr"}
CLAIM = {"id": "a", "statement": "A & B <beat> C.", "verdict": "holds"}


class Outline(HTMLParser):
    """Ids, links and headings of a page; every element that is opened must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.headings: list[str] = []
        self.tables = self.figures = 0
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids += [values["id"] or ""] if "id" in values else []
        self.links += [values["href"] or ""] if tag == "a" else []
        self.tables += tag == "table"
        self.figures += tag == "figure"
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("h1", "h2", "h3"):
            self.headings.append(data.strip())


def write(folder: Path, out: Path, **options: object) -> str:
    return write_report(gather([folder]).groups, out / "report.html", **options).read_text(encoding="utf-8")  # type: ignore[arg-type]


def test_a_page_has_all_its_parts(text: str) -> None:
    outline = Outline(text)
    wanted = ["Results", "What was run", "Learning curves", "Accuracies", "Client by client", "Personal against shared",
              "Cost", "Who holds what", "Examples", "Glossary"]  # fmt: skip
    assert [heading for heading in outline.headings if heading in wanted] == wanted
    assert outline.headings[0] == "3 methods on digits · tiny-clip · 2 seeds"


def test_a_page_needs_nothing_from_anywhere(text: str) -> None:
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'unsafe-inline'" in text
    # Names of XML vocabularies are no addresses.
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) <= {
        "http://www.w3.org/1999/xlink",
        "http://www.w3.org/2000/svg",
    }
    assert not re.findall(r"(?:src|href)=\"(?!#|data:)[^\"]*\"", text)
    assert "url(" not in re.sub(r"url\(#", "", text)


def test_ids_are_unique_and_every_link_leads_somewhere(text: str) -> None:
    outline = Outline(text)
    assert len(outline.ids) == len(set(outline.ids))
    assert {link.removeprefix("#") for link in outline.links} <= set(outline.ids)


def test_every_figure_has_its_data_and_says_what_it_is(text: str) -> None:
    figures = re.findall(r"<figure class=\"card\">(.*?)</figure>", text, re.DOTALL)
    assert len(figures) > 10
    for figure in figures:
        assert re.search(r"<svg [^>]*role=\"img\" aria-label=\"[^\"]{20,}\"", figure)
        assert "<details>" in figure
        assert "<table" in figure
        assert re.search(r"<figcaption><h\d>.*?</h\d><p>.+?</p></figcaption>", figure, re.DOTALL)


def test_every_measure_of_the_table_has_its_definition(text: str) -> None:
    head = text[text.index("<thead>") : text.index("</thead>")]
    for name in ("local", "worst client", "base", "novel", "HM", "global", "bytes", "local steps", "seconds"):
        assert re.search(rf'href="#(term-[a-z-]+)" title="[^"]{{10,}}">{name}', head), name


def test_equal_runs_give_equal_bytes(runs: Path, text: str, tmp_path: Path) -> None:
    assert write(runs, tmp_path, baseline="zeroshot") == text


def test_words_of_others_are_never_markup(tmp_path: Path) -> None:
    odd = "<img src=x onerror=\"alert(1)\"> & 'é' 好"
    clients = {odd: {"examples": 5.0, "shared/local/accuracy": 0.5}}
    write_run(tmp_path / "a", clients=clients, log={odd: 1.0, f"router/{odd}": 1.0}, domain=odd)
    write_run(tmp_path / "b", "fedprox", clients=clients)
    text = write(tmp_path, tmp_path, title=odd, claims=[{**CLAIM, "source": odd}], unfinished=[odd])
    assert "<img src=x" not in text
    assert "好" in text
    Outline(text)


def test_conditions_have_parts_of_their_own(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", "fedavg", "data=world", domain="pastel")
    text = write(tmp_path, tmp_path)
    outline = Outline(text)
    assert outline.headings[:4] == [
        "fedavg on digits, world · tiny-clip · 1 seed",
        "Conditions at a glance",
        "digits",
        "Results",
    ]
    assert outline.headings.count("Results") == 2
    assert len(outline.ids) == len(set(outline.ids))


def test_unfinished_runs_are_said_to_be(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", "fedprox", done=2, finished=False)
    assert "fedprox, seed 0 stopped: 2 of 4 rounds are done." in write(tmp_path, tmp_path)
    write_run(tmp_path / "a", finished=False, done=0)
    (tmp_path / "a" / "summary.json").unlink()
    (tmp_path / "a" / "events.jsonl").unlink()
    text = write(tmp_path, tmp_path)
    assert "Nothing is finished yet: 2 runs with 2 of 8 rounds done." in text
    Outline(text)


def test_a_run_that_is_being_written_is_said_to_be(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", done=3, finished=False)
    with writing(RunFolder(folder)):
        text = write(tmp_path, tmp_path)
    assert "fedavg, seed 0 is still being written: 3 of 4 rounds are done." in text
    assert "Learning curves" in text


def test_zero_rounds_make_a_page(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "zeroshot", rounds=0, gain=0)
    text = write(tmp_path, tmp_path)
    assert "Nothing was trained (0 rounds)" in text
    assert "Learning curves" not in text


def test_data_that_are_gone_cost_their_part_and_nothing_else(runs: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(next(runs.glob("fedavg*s0")), tmp_path / "runs" / "run"))
    write_text(folder / "split" / "split.json", "{")
    text = write(folder.parent, tmp_path)
    assert "Not shown, nor are examples: run/split/split.json is not readable JSON" in text
    assert "Learning curves" in text
    shutil.rmtree(folder / "split")
    assert "Not shown, nor are examples: run/split/split.json does not exist" in write(folder.parent, tmp_path)


def test_examples_can_be_left_out(runs: Path, tmp_path: Path) -> None:
    text = write(runs, tmp_path, examples=False)
    assert "Who holds what" in text
    assert "data:image/png" not in text


def test_a_baseline_without_a_result_is_said(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", "fedprox", finished=False)
    assert "fedprox has no finished run here; differences are to fedavg." in write(
        tmp_path, tmp_path, baseline="fedprox"
    )


def test_claims_alone_make_a_page(tmp_path: Path) -> None:
    text = write_report([], tmp_path / "claims.html", claims=[CLAIM]).read_text(encoding="utf-8")
    assert "A &amp; B &lt;beat&gt; C." in text
    assert "✓ holds" in text
    Outline(text)


def test_answers_in_words_are_shown(tmp_path: Path) -> None:
    example = Example(
        "", "What is <left>?", "", "chat", (Answer("before", "a dog"), Answer("after", "a & cat", None, True))
    )
    text = render(Page("t", (), (Block("Examples", examples=(example,)),), (Part("", "c0", "h", ()),), ()))
    for part in ("What is &lt;left&gt;?", "a dog", "a &amp; cat", "✓ right"):
        assert part in text
    assert "✗" not in text[text.index("a dog") :]


def test_settings_are_broken_at_their_dots_only() -> None:
    assert breakable("train.lr_max <x>") == "train.<wbr>lr_<wbr>max &lt;x&gt;"
    assert breakable("no dots.") == "no dots."


def test_nothing_to_report_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SynopticError, match="there is nothing to report"):
        write_report([], tmp_path / "report.html")


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    groups = gather([tmp_path]).groups
    with pytest.raises(SynopticError, match="is a folder; name the file"):
        write_report(groups, tmp_path)
    write_text(tmp_path / "file", "x")
    with pytest.raises(SynopticError, match="cannot be written"):
        write_report(groups, tmp_path / "file" / "report.html", examples=False)


def blocks(folder: Path) -> tuple[Page, list[Block]]:
    """The page about the runs in a folder, and its blocks; none of their tables may be empty."""
    page = make_page(Request(gather([folder]).groups))
    found = [block for part in page.parts for block in part.blocks]
    tables = [*(grid for block in found for grid in block.grids),
              *(figure.grid for block in found for figure in block.figures)]  # fmt: skip
    assert all(grid.rows for grid in tables)
    assert tables
    return page, found


def test_the_page_of_several_tasks_speaks_of_skill(tmp_path: Path) -> None:
    page, found = blocks(finished("tap"))
    number = r"\u2212?\d\.\d\d"
    moved = rf"(from {number} to {number}|stayed at {number})"
    said = rf"2 rounds of tap: shared skill {moved}; personal skill {moved}\. [\d.]+\s\w+ crossed the boundary\."
    assert re.fullmatch(said, page.parts[0].headline)
    assert [block.title for block in found][:4] == ["Results", "What was run", "Learning curves", "Results as bars"]
    rows = {cells[0].text for cells in found[0].grids[0].rows}
    assert {"skill", "worst task", "shapes %"} <= rows
    text = render(page)
    Outline(text)
    assert "Skill on own test data: 0 without looking" in text[text.index('id="glossary"') :]


def test_the_page_of_utilities_speaks_of_utilities(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_utilities(tmp_path / f"a{seed}", seed=seed, level=0.6, models=("shared", "personal"), domain="north")
    page, found = blocks(tmp_path)
    assert page.parts[0].headline.startswith("4 rounds of fedavg (means over 2 seeds): base utility from")
    assert {"Client by client", "Personal against shared", "Results as bars"} <= {block.title for block in found}
    text = render(page)
    Outline(text)
    said = re.sub(r"<[^>]*>", " ", text)
    assert "ccuracy on" not in said
    assert "exact answers" not in said
    assert "True utility on a client&#39;s own test data" in text[text.index('id="glossary"') :]
