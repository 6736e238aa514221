from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from synoptic import cli
from synoptic.experiment import doctor
from synoptic.experiment.doctor import Check

FINE, NOTE, BROKEN = Check("a", "fine", "é"), Check("b", "note", "n", "mend"), Check("c", "broken", "x", "replace")


@pytest.fixture
def finds(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def install(*checks: Check) -> None:
        monkeypatch.setattr(doctor, "examine", lambda: iter(checks))

    return install


def test_status_0_unless_something_is_broken(finds: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    finds(FINE, NOTE)
    assert cli.main(["doctor"]) == 0
    assert "mend" in capsys.readouterr().out
    finds(FINE, BROKEN)
    assert cli.main(["doctor"]) == 1
    assert "replace" in capsys.readouterr().out


def test_json_and_nothing_else(finds: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    finds(FINE, BROKEN)
    assert cli.main(["doctor", "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out) == [
        {"name": "a", "status": "fine", "found": "é", "fix": ""},
        {"name": "c", "status": "broken", "found": "x", "fix": "replace"},
    ]
