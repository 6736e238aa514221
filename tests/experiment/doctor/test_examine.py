from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from synoptic.experiment.display.checks import show_checks
from synoptic.experiment.doctor import Check, examine, machine, packages, parts

CHECKS = [
    Check("python", "fine", "3.11.7"),
    Check("threads", "note", "PyTorch takes 8 " * 6, "set OMP_NUM_THREADS=1 " * 4),
    Check("package no-such-package-at-all", "broken", "not installed", 'pip install "[x]>=2"'),
    Check("extra tensorboard", "absent", "not installed", "pip install tensorboard"),
]


def test_everything_is_looked_at_and_nothing_here_is_broken() -> None:
    found = list(examine())
    names = {check.name for check in found}
    assert {"synoptic", "python", "packages", "cores", "load", "threads", "memory", "run folder", "temporary files",
            "devices", "base tiny-clip", "methods", "hub"} <= names  # fmt: skip
    assert [check for check in found if check.status == "broken"] == []
    assert [check for check in found if check.status in ("note", "broken") and not check.fix] == []


def test_a_look_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def faint() -> Any:
        raise RuntimeError("first line\nsecond line")

    for module, names in (
        (machine, ("cores", "load_and_threads", "memory", "disk", "devices")),
        (packages, ("python", "packages", "extras")),
        (parts, ("base_models", "methods")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, faint)
    broken = [check for check in examine() if check.status == "broken"]
    assert len(broken) == 10
    assert {check.found for check in broken} == {"could not be looked at (RuntimeError: first line)"}


@pytest.mark.parametrize("width", [60, 120])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_findings_fit_and_say_everything(width: int, encoding: str) -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    show_checks(Console(file=file, width=width, markup=False, highlight=False), CHECKS)
    file.flush()
    lines = raw.getvalue().decode(encoding).splitlines()
    assert all(len(line) <= width for line in lines)
    good, bad = ("✓", "✗") if encoding == "utf-8" else ("+", "x")
    assert [line[0] for line in lines if line[:1].strip()][:4] == [good, "!", bad, "-"]
    assert 'pip install "[x]>=2"' in " ".join(lines)
    assert lines[-1] == "1 broken, 1 to look at"


def test_all_is_well() -> None:
    console = Console(file=io.StringIO(), width=60)
    show_checks(console, [CHECKS[0], CHECKS[3]])
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines()[-1] == "all is well"
