"""What the docs promise runs: the method of CONTRIBUTING, the Python of the README, every local link."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from synoptic.experiment.recipe import load_recipe
from synoptic.experiment.runner import run
from synoptic.methods import base

ROOT = Path(__file__).parent.parent
QUICK = ("rounds=2", "data.train_limit=140", "data.test_limit=100", "compute.threads=1", "federation.stack=5")


def _blocks(path: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / path).read_text(), flags=re.DOTALL)


@pytest.fixture
def lossweighted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lossweighted_of_the_docs.py").write_text(_blocks("CONTRIBUTING.md", "python")[0])
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
    (block,) = _blocks("README.md", "python")
    monkeypatch.chdir(tmp_path)
    exec(compile(block.replace("rounds=5", "rounds=1"), "README.md", "exec"), {})
    accuracies, folder = capsys.readouterr().out.strip().splitlines()[-2:]
    assert all(0 < float(word) <= 1 for word in accuracies.split())
    assert (tmp_path / folder / "summary.json").exists()


PAGES = sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("page", PAGES)
def test_local_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in link:
            assert ((ROOT / page).parent / link).exists(), f"{page} links to {link}"


def test_every_function_and_test_that_a_method_page_names_exists() -> None:
    homes = {"tests": ROOT, **dict.fromkeys(("methods", "learning", "adapters", "models"), ROOT / "src" / "synoptic")}
    for page in (ROOT / "docs" / "methods").glob("*.md"):
        found = re.findall(r"`((\w+)/[\w/]+\.py)(?:: ([\w.]+))?`", page.read_text())
        assert any(home == "tests" for _, home, _ in found), f"{page.name} names no test"
        for path, home, name in found:
            code = (homes[home] / path).read_text()
            for part in filter(None, name.split(".")):
                assert re.search(rf"\b(def|class) {part}\b", code), f"{page.name}: {path} has no {part}"
