from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pytest

from synoptic.experiment.doctor import packages
from synoptic.experiment.doctor.check import Check


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the project ask for something else."""

    def ask(python: str = ">=3.11", requirements: list[str] | None = None) -> None:
        class Metadata(dict[str, str]):
            def get_all(self, name: str) -> list[str]:
                return ["dev", "tensorboard", "other"]

        monkeypatch.setattr(packages, "metadata", lambda name: Metadata({"Requires-Python": python}))
        monkeypatch.setattr(packages, "requires", lambda name: requirements)

    return ask


def test_this_installation_is_fine() -> None:
    (python,) = packages.python()
    assert python.status == "fine"
    (found,) = packages.packages()
    assert found.status == "fine"
    assert f"torch {version('torch')}" in found.found


def test_an_old_python_is_broken(wanted: Any) -> None:
    wanted(python=">=99.1")
    (found,) = packages.python()
    assert found.status == "broken"
    assert ">=99.1 is needed" in found.found


def test_each_odd_package_is_a_finding_with_its_fix(wanted: Any) -> None:
    wanted(requirements=["numpy<1", "no-such-package-at-all>=2", "torch>=2"])
    assert list(packages.packages()) == [
        Check("package numpy", "broken", f"{version('numpy')}, but <1 is needed", 'pip install "numpy<1"'),
        Check("package no-such-package-at-all", "broken", "not installed",
              'pip install "no-such-package-at-all>=2"'),
    ]  # fmt: skip


def test_extras_may_be_absent(wanted: Any) -> None:
    wanted(requirements=[
        "numpy", 'numpy>=1; extra == "other"', 'torch>=2; extra == "other"', 'pytest<1; extra == "dev"',
        'no-such-package-at-all>=3; extra == "tensorboard"', 'numpy<1; extra == "tensorboard"',
        'torch>=2; python_version >= "3"',
    ])  # fmt: skip
    here = version("numpy")
    assert list(packages.extras()) == [
        Check("extra other", "fine", f"numpy {here}, torch {version('torch')}"),
        Check("extra tensorboard", "absent",
              f"no-such-package-at-all not installed, numpy {here}, but <1 is needed",
              'pip install "no-such-package-at-all>=3" "numpy<1"'),
    ]  # fmt: skip
    assert [found.status for found in packages.packages()] == ["fine"]


def test_an_extra_of_another_version_is_to_be_looked_at(wanted: Any) -> None:
    wanted(requirements=['numpy<1; extra == "other"'])
    assert [(found.name, found.status) for found in packages.extras()] == [("extra other", "note")]


def test_a_project_that_needs_nothing_is_no_riddle(wanted: Any) -> None:
    wanted(requirements=None)
    assert [found.status for found in packages.packages()] == ["fine"]
    assert list(packages.extras()) == []
