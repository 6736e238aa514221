from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synoptic.core import SynopticError
from synoptic.data.overlap import check_overlap
from synoptic.data.task_spec import ARCHETYPES, TaskWorldSpec
from synoptic.data.task_world import TASKS, build_tasks
from synoptic.data.tasks import TaskData, task_of

SMALL = TaskWorldSpec(groups=2, train=12, test=6)


def rows(data: TaskData, client: int, part: str) -> list[tuple[str, str, str]]:
    """A client's rows as task, question, answer."""
    table = data.test if part == "test" else data.train
    positions = getattr(data.clients, part)(client)
    assert table.words is not None
    return [(data.tasks[task].name, table.words.questions[row], table.words.answers[row])
            for row, task in zip(positions, task_of(table, positions), strict=True)]  # fmt: skip


@pytest.fixture(scope="module")
def data() -> TaskData:
    return build_tasks(SMALL, 0)


def test_sites_have_the_tasks_of_their_archetype(data: TaskData) -> None:
    assert len(data.clients) == 2 * len(ARCHETYPES)
    for client in range(len(data.clients)):
        names = ARCHETYPES[client % len(ARCHETYPES)]
        assert {name for name, _, _ in rows(data, client, "train")} == set(names)
        counts = [len(getattr(data.clients, part)(client)) for part in ("train", "val", "test")]
        assert counts == [10 * len(names), 2 * len(names), 6 * len(names)], "a fifth of each task is set aside"


def test_clients_are_grouped_by_their_tasks(data: TaskData) -> None:
    kinds = data.kinds(range(len(data.clients)))
    assert kinds["corrections",] == [1, 2, 11, 12]
    assert kinds["shapes", "corrections"] == [7, 17]
    assert sorted(client for clients in kinds.values() for client in clients) == list(range(20))


def test_there_are_one_two_and_fused_tasks() -> None:
    assert {len(names) for names in ARCHETYPES} == {1, 2}
    assert TASKS["questions"].modalities == ("image", "text")
    assert {task.kind for task in TASKS.values()} == {"classify", "generate", "reconstruct"}


def test_rows_are_what_the_task_wants(data: TaskData) -> None:
    for client in range(len(ARCHETYPES)):
        for name, question, answer in rows(data, client, "train") + rows(data, client, "test"):
            assert bool(question) == ("text" in TASKS[name].modalities)
            assert (answer in TASKS[name].labels) == (TASKS[name].kind == "classify")
            assert bool(answer) == (name != "pictures")
            assert name != "corrections" or answer in question


def test_r10_no_test_row_is_trained_on() -> None:
    data = build_tasks(SMALL.model_copy(update={"archetypes": (*ARCHETYPES, ("colours",))}), 0)
    check_overlap(data)
    assert data.train.words is not None
    assert data.test.words is not None
    held = data.clients
    for task in ("colours", "corrections"):
        index = [task.name for task in data.tasks].index(task)
        texts = [
            {table.words.questions[row] for row in rows.positions if table.domains[row] == index}
            for table, rows in ((data.train, held.train_rows), (data.train, held.val_rows), (data.test, held.test_rows))
        ]
        assert min(map(len, texts)) > 2
        assert not (texts[0] | texts[1]) & texts[2], "texts are compared too, because nobody opens their pictures"


def test_every_task_has_a_pooled_split(data: TaskData) -> None:
    assert set(data.tests) == {f"domain/{name}" for names in ARCHETYPES for name in names}
    assert sum(map(len, data.tests.values())) == len(data.test)
    assert len(data.tests["domain/corrections"]) == 2 * 4 * 6


def test_the_seed_moves_only_what_is_set_aside(data: TaskData) -> None:
    again, other = build_tasks(SMALL, 0), build_tasks(SMALL, 1)
    assert again.fingerprint == data.fingerprint != other.fingerprint
    assert other.train.fingerprint == data.train.fingerprint
    assert build_tasks(SMALL.model_copy(update={"draw": 1}), 0).train.fingerprint != data.train.fingerprint


def test_a_site_is_the_same_whoever_else_there_is(data: TaskData) -> None:
    fewer = build_tasks(SMALL.model_copy(update={"groups": 1}), 0)
    for client in range(len(ARCHETYPES)):
        for part in ("train", "test"):
            mine, alone = rows(data, client, part), rows(fewer, client, part)
            assert mine == alone if part == "test" else len(mine) == len(alone)
    pictures = data.train.images.load(np.arange(len(fewer.train)))
    assert np.array_equal(pictures, fewer.train.images.load(np.arange(len(fewer.train))))


def test_label_skew_makes_sites_of_one_task_differ_alike_in_both_parts() -> None:
    spec = TaskWorldSpec(archetypes=(("shapes",),), groups=3, train=200, test=200)
    even, skewed = (build_tasks(spec.model_copy(update={"label_skew": alpha}), 0) for alpha in (None, 0.1))

    def top(data: TaskData, part: str) -> list[float]:
        table = data.test if part == "test" else data.train
        return [float(np.bincount(table.labels[getattr(data.clients, part)(k)]).max() / 200) for k in range(3)]

    assert max(top(even, "test")) < 0.2 < min(top(skewed, "test"))
    for k in range(3):
        train, test = skewed.clients.train(k), skewed.clients.test(k)
        assert np.bincount(skewed.train.labels[train]).argmax() == np.bincount(skewed.test.labels[test]).argmax()


def test_feature_skew_changes_pictures_and_nothing_that_is_said() -> None:
    spec = TaskWorldSpec(archetypes=(("captions",),), groups=2, train=20, test=10)
    plain, skewed = (build_tasks(spec.model_copy(update={"feature_skew": share}), 0) for share in (0.0, 1.0))
    assert plain.train.words is not None
    assert skewed.train.words is not None
    assert plain.train.words.fingerprint == skewed.train.words.fingerprint
    assert plain.train.images.fingerprint != skewed.train.images.fingerprint


def test_without_validation_nothing_is_set_aside() -> None:
    data = build_tasks(SMALL.model_copy(update={"validation": 0.0}), 0)
    assert len(data.clients.val_rows.positions) == 0


@pytest.mark.parametrize(
    ("archetypes", "what"),
    [
        ((("shape",),), "names 'shape', which is no task; did you mean 'shapes'"),
        (((),), r"a site cannot have the tasks \[\]"),
        ((("shapes", "shapes"),), "name at least one, each once"),
    ],
)
def test_what_no_site_can_have(archetypes: tuple[tuple[str, ...], ...], what: str) -> None:
    with pytest.raises(SynopticError, match=what):
        build_tasks(TaskWorldSpec(archetypes=archetypes), 0)


def test_tables_must_tell_the_task(data: TaskData) -> None:
    with pytest.raises(SynopticError, match="tasks/train does not tell which of the tasks shapes each row has"):
        replace(data, tasks=data.tasks[:1])
