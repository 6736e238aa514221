from __future__ import annotations

from pathlib import Path

import pytest

from runs import small
from synoptic.core import SynopticError
from synoptic.experiment.claims.metrics import check_spelling, full_name, is_counted
from synoptic.experiment.records import read_run
from synoptic.experiment.runner import run


@pytest.mark.parametrize(
    ("metric", "part"),
    [
        ("shred/base/accuracy", "'shred' is no model and nothing that is counted; did you mean 'shared'"),
        ("shared/nove/accuracy", "did you mean 'novel'"),
        ("personal/local/acuracy/mean", "did you mean 'accuracy'"),
        ("shared/local/accuracy/wurst", "did you mean 'worst'"),
        ("before/shared/globl/loss", "did you mean 'global'"),
        ("shared/domain/pastel/acuracy", "did you mean 'accuracy'"),
        ("bytes/totl", "did you mean 'total'"),
        ("accuracy", "choose one of"),
    ],
)
def test_misspelt_names_are_told(metric: str, part: str) -> None:
    with pytest.raises(SynopticError, match=part):
        check_spelling(metric)


@pytest.mark.parametrize("metric", ["shared/base/reward/mean", "work/server_steps", "shared/domain/novl/accuracy"])
def test_what_a_method_may_measure_of_its_own_passes(metric: str) -> None:
    check_spelling(metric)


def test_all_that_runs_measure_is_well_spelt(tmp_path: Path) -> None:
    for method in ("fedavg", "local"):
        folder = run(small(tmp_path, method, "rounds=1")).folder
        known = read_run(folder).measures()
        assert any(is_counted(name) for name in known)
        for name in known:
            check_spelling(name)
            assert full_name(name, known) == name
            assert full_name(name.removesuffix("/mean"), known) == name


def test_a_name_without_an_average_is_the_mean() -> None:
    known = {"shared/base/accuracy/mean", "bytes/total"}
    assert full_name("shared/base/accuracy", known) == "shared/base/accuracy/mean"
    assert full_name("bytes/total", known) == "bytes/total"
    assert full_name("shared/base", known) is None
