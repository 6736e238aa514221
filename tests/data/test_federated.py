from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synoptic.core import SynopticError
from synoptic.core.files import read_json, read_tensors, write_json, write_tensors
from synoptic.data import ArrayImages, DataSpec, ExampleTable, FederatedData, build, check_overlap, federated, manifest
from synoptic.data.shapes import SHAPES
from synoptic.data.sources import Source

SPECS: list[dict[str, Any]] = [
    {"source": "digits"},
    {"source": "digits", "clients": 30, "shots": 3, "validation": 0.3, "partition": {"alpha": 0.05}},
    {"source": "digits", "novel": 0.0, "partition": "iid", "train_limit": 200, "test_limit": 50},
    {"source": "world", "per_class": 20, "test_per_class": 6},
    {"source": "world", "per_class": 20, "test_per_class": 6, "partition": "domain", "clients": 4, "novel": 0},
    {"source": "world", "per_class": 20, "classes": 6, "partition": {"kind": "domain_dirichlet"}, "clients": 4},
]
FEW = {"train": 30, "test": 15}
ASKING: list[dict[str, Any]] = [
    {"source": "questions", "questions": FEW},
    {"source": "questions", "questions": FEW | {"groups": 2, "rejected": True}, "clients": 6},
    {"source": "questions", "questions": FEW, "partition": "iid", "validation": 0.3},
    {"source": "questions", "questions": FEW, "partition": "dirichlet", "novel": ("check",), "shots": 3},
]
LIKING: list[dict[str, Any]] = [
    {"source": "questions", "questions": FEW | {"tastes": 120, "public": 40, "public_test": 20}, "clients": 3},
    {"source": "questions", "questions": FEW | {"tastes": {"skew": 0.7}, "public": 60}, "clients": 3, "novel": 0.25},
    {"source": "questions", "questions": FEW | {"groups": 2, "public": 10, "public_test": 0}, "partition": "iid"},
]


def made(spec: dict[str, Any], seed: int = 0) -> FederatedData:
    return build(DataSpec.model_validate(spec), seed)


@pytest.mark.parametrize("spec", SPECS + ASKING + LIKING, ids=str)
def test_what_always_holds(spec: dict[str, Any]) -> None:
    data = made(spec)
    clients = data.clients
    everything = np.concatenate([clients.train_rows.positions, clients.val_rows.positions])
    assert sorted(everything) == list(range(len(data.train))), "every training example has one owner"
    assert set(np.unique(data.train.labels)) == set(data.base_classes)
    assert not set(data.base_classes) & set(data.novel_classes)
    assert len(data.base_classes) + len(data.novel_classes) == len(data.class_names)
    is_base = np.isin(data.test.labels, data.base_classes)
    has_base = len(data.novel_classes) > 0 or not data.asks
    assert ("base" in data.tests) == has_base, "of questions it would be the same as global"
    if has_base:
        assert data.tests["base"].tolist() == np.flatnonzero(is_base).tolist()
    assert data.tests["global"].tolist() == list(range(len(data.test)))
    assert ("novel" in data.tests) == (len(data.novel_classes) > 0)
    for k in range(len(clients)):
        own = np.concatenate([clients.train(k), clients.val(k)])
        assert (np.diff(clients.train(k)) > 0).all()
        assert len(clients.test(k)) > 0
        assert set(data.test.labels[clients.test(k)]) <= set(data.train.labels[own])
    pooled = clients.pooled()
    assert len(pooled) == 1
    assert pooled.name(0) == "everyone"
    assert sorted(np.concatenate([pooled.train(0), pooled.val(0)])) == sorted(everything)
    check_overlap(data)


@pytest.mark.parametrize("spec", SPECS + ASKING + LIKING, ids=str)
def test_seeds_decide_and_a_manifest_restores(spec: dict[str, Any], tmp_path: Path) -> None:
    data = made(spec)
    assert made(spec).fingerprint == data.fingerprint
    assert made(spec, seed=1).fingerprint != data.fingerprint
    manifest.save(data, tmp_path)
    back = manifest.load(tmp_path)
    assert back.fingerprint == data.fingerprint
    assert back.template == data.template
    assert [back.clients.name(k) for k in range(len(back.clients))] == [
        data.clients.name(k) for k in range(len(data.clients))
    ]
    assert {name: rows.tolist() for name, rows in back.tests.items()} == {
        name: rows.tolist() for name, rows in data.tests.items()
    }
    rows = np.arange(5)
    assert np.array_equal(back.train.images.load(rows), data.train.images.load(rows))
    for pool, again in ((data.pool, back.pool), (data.pool_test, back.pool_test)):
        assert (pool is None) == (again is None)
        assert pool is None or again is None or pool.fingerprint == again.fingerprint


def test_the_seed_changes_neither_pictures_nor_the_test_part() -> None:
    first, second = made(SPECS[0]), made(SPECS[0], seed=1)
    assert first.train.fingerprint == second.train.fingerprint
    assert first.test.fingerprint == second.test.fingerprint


def test_digits_defaults() -> None:
    data = made({"source": "digits"})
    assert len(data.clients) == 5
    assert [data.class_names[i] for i in data.novel_classes] == ["seven", "eight", "nine"]
    assert data.prompts()[7] == "the digit seven."
    assert data.clients.name(3) == "client-3"
    assert [data.clients.number(name) for name in ("client-3", "2")] == [3, 2]
    for nobody in ("client-33", "99", "-1"):
        with pytest.raises(SynopticError, match=f"these data have no client '{nobody}'; choose among .*client-0"):
            data.clients.number(nobody)
    assert data.summary()["duplicates_dropped"] == 0


def test_clients_of_a_group_are_asked_as_their_group_is() -> None:
    data = made(ASKING[1])
    assert data.asks
    assert [data.clients.name(k) for k in range(6)] == [f"group-{group}-{i}" for group in (0, 1) for i in range(3)]
    assert data.train.domains is not None
    assert data.test.domains is not None
    for k in range(6):
        assert set(data.train.domains[data.clients.train(k)]) == {k // 3}
        assert set(data.test.domains[data.clients.test(k)]) == {k // 3}
    assert data.train.words is not None
    assert data.train.words.rejected is not None
    assert data.summary()["pictures"] == len(data.train)
    assert "domain/group-1" in data.tests


def test_kinds_that_are_never_trained() -> None:
    data = made(ASKING[3])
    assert [data.class_names[i] for i in data.novel_classes] == ["check"]
    assert set(data.tests) >= {"base", "novel", "global"}


def test_pictures_are_the_categories_where_groups_have_tastes() -> None:
    data = made(LIKING[1])
    assert data.class_names == SHAPES
    assert [data.class_names[label] for label in data.novel_classes] == list(SHAPES[-4:])
    assert data.pool is not None and data.pool_test is not None
    for table in (data.train, data.test, data.pool, data.pool_test):
        assert table.words is not None and table.words.gold is not None
        assert np.array_equal(table.words.gold.facts[:, 1], table.labels), "the shape is the category"
        assert np.array_equal(table.words.gold.groups, table.domains)
    assert set(data.pool.labels) <= set(data.base_classes), "nobody trains on a novel category, the server neither"
    assert set(data.pool_test.labels) & set(data.novel_classes)
    assert set(data.pool_test.labels) & set(data.base_classes)
    assert set(data.test.labels[data.tests["novel"]]) <= set(data.novel_classes)
    assert {len(data.pool), len(data.pool_test)} <= set(range(30, 201))


def test_the_server_holds_what_nobody_else_has() -> None:
    data = made(LIKING[0])
    assert data.pool is not None and data.pool_test is not None
    assert (data.summary()["pool"], data.summary()["pool_test"]) == (40, 20)
    hashes = [
        table.content_hashes(np.arange(len(table))) for table in (data.train, data.test, data.pool, data.pool_test)
    ]
    pictures = [content for some in hashes for content in some]
    assert len(set(pictures)) == len(pictures)
    everybody = np.concatenate([data.clients.train_rows.positions, data.clients.val_rows.positions])
    assert len(everybody) == len(data.train)
    assert "pool" not in made(ASKING[0]).summary()
    assert made(SPECS[0]).pool is None
    fewer = made({**LIKING[0], "questions": FEW | {"tastes": 120}})
    assert fewer.pool is None
    assert fewer.train.fingerprint == data.train.fingerprint
    assert fewer.fingerprint != data.fingerprint


@pytest.mark.parametrize("part", ["pool", "pool_test"])
def test_the_overlap_check_looks_at_the_servers_rows(part: str) -> None:
    data = made(LIKING[0])
    leaky = replace(data, **{part: data.train.take(np.array([3, 4]))})
    with pytest.raises(
        SynopticError, match=r"2 training images are public (test )?images too \(first: questions/train"
    ):
        check_overlap(leaky)


def test_public_rows_of_no_class_in_use_are_refused() -> None:
    how = FEW | {"tastes": {}, "public": 1, "public_test": 0}
    shape = made({"source": "questions", "questions": how, "clients": 3}).pool
    assert shape is not None
    with pytest.raises(
        SynopticError, match="none of the 1 rows of questions/public is of a class in use; ask for more"
    ):
        made({"source": "questions", "questions": how, "clients": 3, "novel": (SHAPES[shape.labels[0]],)})


def test_world_domains_are_test_splits_of_base_classes() -> None:
    data = made(SPECS[3])
    rows = data.tests["domain/pastel"]
    assert set(data.test.labels[rows]) == set(data.base_classes)
    assert data.test.domains is not None
    assert (data.test.domains[rows] == data.test.domain_names.index("pastel")).all()


def test_classes_domains_and_novel_by_name() -> None:
    data = made({"source": "digits", "classes": ("nine", "one", "four"), "novel": ("one",), "clients": 2})
    assert data.class_names == ("nine", "one", "four")
    assert data.novel_classes.tolist() == [1]
    assert data.base_classes.tolist() == [0, 2]
    world = made({"source": "world", "domains": ("blurred",), "per_class": 10})
    assert world.train.domain_names == ("blurred",)
    assert len(world.train) == 50


def test_limits_are_stratified() -> None:
    data = made({"source": "digits", "novel": 0.0, "train_limit": 100, "test_limit": 20})
    assert np.bincount(data.train.labels).tolist() == [10] * 10
    assert len(data.test) == 20
    assert np.bincount(data.test.labels).min() >= 1


def test_shots_bound_every_client_and_class() -> None:
    data = made({"source": "digits", "shots": 2})
    for k in range(len(data.clients)):
        assert np.bincount(data.train.labels[data.clients.train(k)]).max() <= 2


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"clients": 5000}, "5,000 clients cannot each get 1 of 1,012 training examples"),
        ({"classes": 11}, "data.classes=11, but digits has 10 classes"),
        ({"classes": ("sevn",)}, "names 'sevn', which is no class; did you mean 'seven'"),
        ({"classes": ("one", "one")}, "names a class twice"),
        ({"novel": ("ten",)}, "'ten', which is no class in use"),
        ({"novel": 0.99}, "all 10 classes are novel"),
        ({"domains": ("pastel",)}, "the source has no domains"),
        ({"train_limit": 3}, "cannot hold one example of each of 7 classes"),
        ({"partition": "domain"}, "needs domains"),
        ({"class_names": ("a",)}, "class_names has 1 words, but digits has 10 classes"),
    ],
)
def test_impossible_requests_are_explained(spec: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SynopticError, match=sentence):
        made(spec)


def toy(pixels: np.ndarray, part: str) -> ExampleTable:
    return ExampleTable(f"toy/{part}", ArrayImages(pixels), np.arange(len(pixels)) % 2, ("cat", "dog"))


@pytest.mark.parametrize("decoded", [0, 100])
def test_repeated_pictures_leave_the_training_part(monkeypatch: pytest.MonkeyPatch, decoded: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), dtype=np.uint8)
    source = Source(toy(pixels[:14], "train"), toy(pixels[10:], "test"))
    monkeypatch.setattr(federated, "open_source", lambda spec: source)
    monkeypatch.setattr("synoptic.data.overlap.DECODED", decoded)
    data = build(DataSpec(source="folder:x", clients=2), 0)
    assert data.summary()["duplicates_dropped"] == 4
    assert len(data.train) == 10
    check_overlap(data)


def test_the_overlap_check_can_fail() -> None:
    data = made(SPECS[3])
    leaky = FederatedData(
        data.train, data.train.take(np.array([5, 6])), data.base_classes, data.novel_classes, "{}", {}, data.clients
    )
    with pytest.raises(SynopticError, match=r"2 training images are test images too \(first: world/train 5 is"):
        check_overlap(leaky)


def test_a_changed_manifest_is_noticed(tmp_path: Path) -> None:
    manifest.save(made(SPECS[3]), tmp_path)
    tensors, _ = read_tensors(tmp_path / manifest.POSITIONS)
    edited = dict(tensors)
    edited["train/positions"] = tensors["train/positions"].flip(0)
    write_tensors(tmp_path / manifest.POSITIONS, edited)
    with pytest.raises(SynopticError, match="does not fit"):
        manifest.load(tmp_path)
    del edited["classes"]
    write_tensors(tmp_path / manifest.POSITIONS, edited)
    with pytest.raises(SynopticError, match="does not hold a whole split"):
        manifest.load(tmp_path)


def test_a_changed_source_is_noticed(tmp_path: Path) -> None:
    manifest.save(made(SPECS[3]), tmp_path)
    with pytest.raises(SynopticError, match="the source has changed"):
        manifest.load(tmp_path, DataSpec(source="world", draw=1, per_class=20, test_per_class=6))
    stored = read_json(tmp_path / manifest.DESCRIPTION)
    write_json(tmp_path / manifest.DESCRIPTION, stored | {"version": 99})
    with pytest.raises(SynopticError, match="is no split of version 1"):
        manifest.load(tmp_path)


def test_data_by_hand_has_no_manifest(tmp_path: Path) -> None:
    data = made(SPECS[3])
    by_hand = FederatedData(
        data.train, data.test, data.base_classes, data.novel_classes, "{}", data.tests, data.clients
    )
    with pytest.raises(SynopticError, match="put together by hand"):
        manifest.save(by_hand, tmp_path)
