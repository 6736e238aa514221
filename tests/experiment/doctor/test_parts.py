from __future__ import annotations

import shutil
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from synoptic.experiment.doctor import parts
from synoptic.methods import base
from synoptic.models import load

REAL = load.embedded()["tiny-clip"]


def test_what_ships_is_fine() -> None:
    checks = list(parts.base_models())
    assert [check.name for check in checks] == ["base tiny-clip", "base tiny-describer", "base tiny-vlm"]
    for found in checks:
        assert found.status == "fine"
        assert "as its card says" in found.found


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the embedded checkpoint that may be damaged."""
    folder = tmp_path / "tiny-clip"
    shutil.copytree(REAL, folder)
    monkeypatch.setattr(load, "embedded", lambda: {"tiny-clip": folder})
    return folder


def test_truncated_weights_are_broken(copied: Path) -> None:
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    (found,) = parts.base_models()
    assert (found.status, found.fix) == ("broken", "install synoptic again")
    assert "could not be read" in found.found


def test_other_weights_than_the_card_says_are_broken(copied: Path) -> None:
    card = copied / "README.md"
    text = card.read_text(encoding="utf-8")
    fingerprint = text.split("Fingerprint `")[1].split("`")[0]
    card.write_text(text.replace(fingerprint, "0" * 16), encoding="utf-8")
    (found,) = parts.base_models()
    assert found.status == "broken"
    assert found.found == f"fingerprint {fingerprint}, but its card says {'0' * 16}"
    card.unlink()
    (found,) = parts.base_models()
    assert found.status == "broken"


def test_no_checkpoint_at_all_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "embedded", dict)
    assert [found.status for found in parts.base_models()] == ["broken"]


def test_methods_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "breaks_on_import.py").write_text("raise RuntimeError('no luck')")
    monkeypatch.syspath_prepend(str(tmp_path))
    points = {
        "fedavg": base.registry()["fedavg"],
        "gone": EntryPoint("gone", "package_that_is_gone:Method", base.GROUP),
        "odd": EntryPoint("odd", "breaks_on_import:Method", base.GROUP),
        "own": EntryPoint("own", "synoptic.methods.no_such_file:Method", base.GROUP),
    }
    monkeypatch.setattr(base, "registry", lambda: points)
    found = {check.name: check for check in parts.methods()}
    assert found["methods"].found == "fedavg"
    assert {name: check.status for name, check in found.items()} == {
        "method gone": "note", "method odd": "note", "method own": "broken", "methods": "fine",
    }  # fmt: skip
    assert "no luck" in found["method odd"].found
    assert found["method gone"].fix.startswith("install package_that_is_gone")
    assert found["method own"].fix == "install synoptic again"


def test_no_methods_at_all_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "registry", dict)
    assert [found.status for found in parts.methods()] == ["broken"]
