from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synoptic.core import SynopticError
from synoptic.data import DataSpec, build, check_overlap, manifest
from synoptic.data.inspect import describe
from synoptic.data.task_spec import ARCHETYPES, GROUPS, TaskWorldSpec
from synoptic.data.task_world import OWN_STYLES, build_tasks
from synoptic.data.tasks import TaskData

SMALL: dict[str, Any] = {"source": "tasks", "tasks": {"groups": 1, "train": 10, "test": 4}}


def spec(**tasks: Any) -> DataSpec:
    return DataSpec.model_validate({**SMALL, "tasks": {**SMALL["tasks"], **tasks}})


def test_a_word_is_enough_and_a_saved_spec_reads_back() -> None:
    one = DataSpec.model_validate("tasks")
    assert one.tasks == TaskWorldSpec()
    assert one.tasks.archetypes == ARCHETYPES
    assert (one.partition.kind, one.partition.column, one.asks) == ("column", "site", False)
    assert DataSpec.model_validate(one.model_dump(mode="json")) == one
    assert "tasks" not in DataSpec(source="digits").model_dump()
    assert len(OWN_STYLES) == GROUPS, "every group has a style of its own"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"source": "digits", "tasks": {}}, r"data\.tasks has no meaning for data\.source=digits; use data=tasks"),
        ({**SMALL, "clients": 4}, r"data\.clients has no meaning for data\.source=tasks"),
        ({**SMALL, "validation": 0.1}, r"data\.validation has no meaning for data\.source=tasks"),
        ({**SMALL, "partition": "iid"}, r"data\.source=tasks is shared out already"),
        ({**SMALL, "partition": {"kind": "dirichlet"}}, r"data\.source=tasks is shared out already"),
    ],
)
def test_what_has_no_meaning_is_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SynopticError, match=sentence):
        DataSpec.model_validate(given)


@pytest.mark.parametrize(("archetypes", "sentence"), [([["shape"]], "no task; did you mean 'shapes'"),
                                                      ([["shapes", "shapes"]], "each once")])  # fmt: skip
def test_tasks_that_do_not_exist_are_told_when_data_are_made(archetypes: list[list[str]], sentence: str) -> None:
    with pytest.raises(SynopticError, match=sentence):
        build(spec(archetypes=archetypes), 0)


def test_built_data_are_those_of_the_bricks() -> None:
    data, plain = build(spec(), 3), build_tasks(spec().tasks, 3)  # type: ignore[arg-type]
    assert isinstance(data, TaskData)
    assert data.tasks == plain.tasks
    for part in ("train", "val", "test"):
        for client in range(len(data.clients)):
            assert np.array_equal(getattr(data.clients, part)(client), getattr(plain.clients, part)(client))
    for one, other in ((data.train, plain.train), (data.test, plain.test)):
        assert one.words is not None
        assert other.words is not None
        assert (one.words.questions, one.words.answers) == (other.words.questions, other.words.answers)
        assert one.content_hashes(np.arange(len(one))) == other.content_hashes(np.arange(len(other)))
    assert set(data.tests) == {f"domain/{task.name}" for task in data.tasks}
    check_overlap(data)
    assert build(spec(), 4).fingerprint != data.fingerprint, "the seed decides what is set aside"


def test_own_test_rows_are_told_by_task() -> None:
    data = build(spec(), 0)
    assert data.local_splits == tuple(f"local/{task.name}" for task in data.tasks)  # type: ignore[attr-defined]
    for client in range(len(data.clients)):
        parts = [data.local_rows(client, split) for split in data.local_splits]
        assert np.array_equal(np.sort(np.concatenate(parts)), data.clients.test(client))
        has = [name.partition("/")[2] for name, rows in zip(data.local_splits, parts, strict=True) if len(rows)]
        assert set(has) == set(ARCHETYPES[client])


def test_a_manifest_finds_everything_again(tmp_path: Path) -> None:
    data = build(spec(), 1)
    manifest.save(data, tmp_path)
    again = manifest.load(tmp_path)
    assert isinstance(again, TaskData)
    assert again.fingerprint == data.fingerprint
    assert again.tasks == data.tasks
    assert [row.domains for row in describe(again)] == [row.domains for row in describe(data)]
    with pytest.raises(SynopticError, match="the source has changed"):
        manifest.load(tmp_path, spec(draw=1))
