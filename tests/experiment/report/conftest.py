"""A few real runs, made once, and a whole page of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from runs import small
from synoptic.experiment.report import write_report
from synoptic.experiment.report.gather import gather
from synoptic.experiment.runner import run


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a shared-only and a personal-only method on two seeds, and the floor on one."""
    output = tmp_path_factory.mktemp("runs")
    for method, seed in (("zeroshot", 0), ("fedavg", 0), ("fedavg", 1), ("local", 0), ("local", 1)):
        rounds = "rounds=0" if method == "zeroshot" else "rounds=2"
        run(small(output, method, rounds, f"seed={seed}"))
    return output


@pytest.fixture(scope="session")
def page(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of all of them."""
    return write_report(gather([runs]).groups, tmp_path_factory.mktemp("page") / "report.html", baseline="zeroshot")


@pytest.fixture(scope="session")
def text(page: Path) -> str:
    """Its HTML."""
    return page.read_text(encoding="utf-8")
