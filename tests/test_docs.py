"""What the docs promise holds: Python runs, commands parse, links lead somewhere, method pages keep their form."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest
import typer.main

from pages import ROOT, blocks, commands, pages, read, rows, sections
from synoptic.cli import app
from synoptic.experiment.comparison.statistics import CONFIDENCE, LEAST
from synoptic.experiment.comparison.suite import Suite
from synoptic.experiment.comparison.table import SAME_WORK
from synoptic.experiment.keys import keys, value_text
from synoptic.experiment.recipe import load_recipe
from synoptic.experiment.runner import run
from synoptic.methods import base

QUICK = ("rounds=2", "data.train_limit=140", "data.test_limit=100", "compute.threads=1", "federation.stack=5")


def python(page: str) -> list[str]:
    return [block.text for block in blocks(read(page), "python")]


# -- Python ---------------------------------------------------------------------------------------


@pytest.fixture
def lossweighted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lossweighted_of_the_docs.py").write_text(python("CONTRIBUTING.md")[0])
    monkeypatch.syspath_prepend(str(tmp_path))
    point = EntryPoint("lossweighted", "lossweighted_of_the_docs:LossWeighted", base.GROUP)
    known = {**base.registry(), "lossweighted": point}
    monkeypatch.setattr(base, "registry", lambda: known)


def test_the_method_of_contributing_runs_and_reduces_to_fedavg(lossweighted: None, tmp_path: Path) -> None:
    settings = [*QUICK, f"output={tmp_path}"]
    plain = run(load_recipe("fedavg", settings)).summary
    reduced = run(load_recipe("lossweighted", [*settings, "method.q=0"])).summary
    skewed = run(load_recipe("lossweighted", [*settings, "method.q=5"])).summary
    assert reduced["final_hash"] == plain["final_hash"]
    assert skewed["final_hash"] != plain["final_hash"]


def test_the_python_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = python("README.md")
    monkeypatch.chdir(tmp_path)
    exec(compile(block.replace("rounds=5", "rounds=1"), "README.md", "exec"), {})
    accuracies, folder = capsys.readouterr().out.strip().splitlines()[-2:]
    assert all(0 < float(word) <= 1 for word in accuracies.split())
    assert (tmp_path / folder / "summary.json").exists()


def test_the_python_of_the_reference_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one folder, the page on running something first, so that others find a run."""
    monkeypatch.chdir(tmp_path)
    found = sorted(page for page in pages() if page.startswith("docs/api/"))
    codes = [(page, code) for page in ["docs/api/index.md", *found[:-1]] for code in python(page)]
    assert len(codes) >= 4
    for page, code in codes:
        exec(compile(code, page, "exec"), {})
    assert len(list((tmp_path / "runs").iterdir())) >= 1


# -- commands --------------------------------------------------------------------------------------

COMMANDS = [(page, words) for page in pages() for words in commands(read(page))]


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=[f"{page}: {' '.join(words)}" for page, words in COMMANDS])
def test_every_command_in_the_docs_is_one(page: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    command: click.Command = typer.main.get_command(app)
    while isinstance(command, click.Group):
        rest = command.make_context("synoptic", words[:], resilient_parsing=True)
        _, found, words = command.resolve_command(rest, [*rest._protected_args, *rest.args])
        assert found is not None
        command = found
    given = command.make_context(command.name, words).params
    what = given.get("recipe")
    if isinstance(what, str) and (Path(what).exists() or what in base.registry()):
        load_recipe(what, given["settings"] or [])


# -- numbers ---------------------------------------------------------------------------------------


def test_how_we_evaluate_states_the_constants_of_the_code() -> None:
    text = " ".join(read("docs/evaluation.md").split())
    words = {3: "three", 4: "four", 5: "five", 6: "six"}
    assert f"a {CONFIDENCE * 100:.0f} % interval" in text
    assert f"more than {SAME_WORK * 100:.0f} % more or fewer" in text
    assert f"fewer than {words[LEAST]} seeds" in text
    assert f"{words[len(Suite(methods=['fedavg']).seeds)]} are the default" in text


# -- links -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", pages())
def test_local_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", read(page)):
        if "://" not in link:
            assert ((ROOT / page).parent / link).exists(), f"{page} links to {link}"


def test_the_site_builds_without_a_warning_and_asks_no_network(tmp_path: Path) -> None:
    pytest.importorskip("mkdocstrings", reason="the site's tools are an extra: pip install synoptic[docs]")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    site = {path: path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.html")}
    assert len(site) > 20
    fetched = re.compile(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"?(?:https?:)?//[^>]*")
    assert fetched.search('<script src="https://a.host/b.js">')
    assert {path.name: found for path, text in site.items() if (found := fetched.findall(text))} == {}


# -- the pages of methods --------------------------------------------------------------------------

FLOORS = ("methods", "learning", "adapters", "models", "federation", "data", "experiment")
HOMES = {"tests": ROOT, **dict.fromkeys(FLOORS, ROOT / "src" / "synoptic")}
METHODS = sorted(path.stem for path in ROOT.glob("docs/methods/*.md") if path.stem != "index")
FORM = blocks(read("CONTRIBUTING.md"), "markdown")[0].text
LONGEST_BOX, WIDEST_BOX = 14, 80


def page_of(method: str) -> dict[str, str]:
    return sections(read(f"docs/methods/{method}.md"))


def test_every_method_of_the_package_has_a_page_and_a_row_in_the_overview() -> None:
    ours = {name for name, point in base.registry().items() if point.value.startswith("synoptic.")}
    assert set(METHODS) == ours
    (listed,) = [[row[0] for row in rows(read("docs/methods/index.md"))]]
    assert sorted(listed) == sorted(f"[`{name}`]({name}.md)" for name in ours)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_page_has_the_form_of_contributing(method: str) -> None:
    page, form = page_of(method), sections(FORM)
    assert list(page) == list(form)
    assert [name for name, text in page.items() if not text] == []
    title, idea = page[""].split("\n\n")
    assert title.startswith("# ")
    assert idea.endswith("."), "one sentence says the idea"


@pytest.mark.parametrize("method", METHODS)
def test_a_method_page_gives_the_algorithm_in_a_few_lines(method: str) -> None:
    (box,) = blocks(page_of(method)["Algorithm"])
    lines = box.text.splitlines()
    assert 0 < len(lines) <= LONGEST_BOX
    assert max(map(len, lines)) <= WIDEST_BOX


@pytest.mark.parametrize("method", METHODS)
def test_every_function_and_test_that_a_method_page_names_exists(method: str) -> None:
    text = read(f"docs/methods/{method}.md")
    found = re.findall(r"`((\w+)/[\w/]+\.py)(?:: ([\w.]+))?`", text)
    for path, home, name in found:
        code = (HOMES[home] / path).read_text()
        for part in filter(None, name.split(".")):
            assert re.search(rf"\b(def|class) {part}\b", code), f"{path} has no {part}"
    named = {(name, home == "tests") for name, rest in page_of(method).items()
             for _, home, _ in re.findall(r"`((\w+)/[\w/]+\.py)(?:: ([\w.]+))?`", rest)}  # fmt: skip
    assert {("Equations, functions, tests", False), ("Equations, functions, tests", True)} <= named


@pytest.mark.parametrize("method", METHODS)
def test_a_method_page_says_what_is_trained_sent_and_kept(method: str) -> None:
    table = rows(page_of(method)["Trained, sent, kept"])
    assert [row[0] for row in table] == [row[0] for row in rows(sections(FORM)["Trained, sent, kept"])]
    assert all(what and count for _, what, count in table)


@pytest.mark.parametrize("method", METHODS)
def test_the_settings_of_a_method_page_are_those_of_the_code(method: str) -> None:
    kind = base.load_method(method)
    recipe = load_recipe(method)
    documented = {row[0].strip("`"): row[1].strip("`") for row in rows(page_of(method)["Settings"])}
    # A section that is off stands there as one key; its text says what is in it.
    off = tuple(f"method.{name}." for name, field in kind.Settings.model_fields.items() if field.default is None)
    own = {key.name: key.default for key in keys(kind.Settings, "method.") if not key.name.startswith(off)}
    assert own.items() <= documented.items()
    for name, default in documented.items():
        value = recipe.resolved()
        for part in name.split("."):
            value = value.get(part)
        # What is off may be left out.
        assert (own.get(name, "none") if value is None else value_text(value)) == default, name
    assert {name: value_text(value) for name, value in kind.defaults.items()}.items() <= documented.items()


@pytest.mark.parametrize("method", METHODS)
def test_a_method_page_says_when_to_use_it_and_when_not_and_how_to_try_it(method: str) -> None:
    page = page_of(method)
    assert "**Use it**" in page["When to use it"]
    assert "**Use something else**" in page["When to use it"]
    tried = [load_recipe(words[1], [word for word in words[2:] if "=" in word]) for words in commands(page["Try it"])
             if words[0] == "run"]  # fmt: skip
    assert method in {recipe.method.name for recipe in tried}
