"""One scenario list over all partitioners, and what is special to each."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synoptic.core import SynopticError
from synoptic.data.partition import PARTITIONERS, Partition, Request, partition
from synoptic.data.partition.dirichlet import shares, spread
from synoptic.data.partition.request import repair
from synoptic.data.spec import KINDS, PartitionSpec

OPTIONS: dict[str, dict[str, object]] = {
    "dirichlet": {"alpha": 0.1},
    "domain_dirichlet": {"alpha": 0.1},
    "classes": {"classes_per_client": 2},
    "column": {"column": "writer"},
}


def request(
    kind: str,
    n: int = 400,
    classes: int = 6,
    domains: int = 3,
    clients: int | None = 6,
    seed: int = 0,
    **options: object,
) -> Request:
    rng = np.random.default_rng(seed)
    return Request(
        PartitionSpec.model_validate({"kind": kind, **options}),
        clients,
        rng.integers(0, classes, n),
        tuple(f"class {i}" for i in range(classes)),
        rng.integers(0, domains, n),
        tuple(f"domain {i}" for i in range(domains)),
        {"writer": rng.integers(0, 9, n).astype(str)},
    )


def share_out(made: Request, seed: int = 0) -> Partition:
    return partition(made, np.random.default_rng(seed))


def test_every_kind_has_a_partitioner() -> None:
    assert set(PARTITIONERS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_example_has_one_owner_and_a_seed_decides_which(kind: str) -> None:
    made = request(kind, clients=None if kind == "column" else 6, **OPTIONS.get(kind, {}))
    first, again = share_out(made), share_out(made)
    assert first.owner.shape == made.labels.shape
    assert first.owner.min() >= 0
    assert first.owner.max() < first.clients
    assert (np.bincount(first.owner, minlength=first.clients) >= 1).all()
    assert np.array_equal(first.owner, again.owner)
    if kind != "column":
        assert not np.array_equal(first.owner, share_out(made, seed=1).owner)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "column"])
@given(
    n=st.integers(1, 300),
    classes=st.integers(1, 8),
    domains=st.integers(1, 4),
    clients=st.integers(1, 60),
    log_alpha=st.floats(-4, 3),
    least=st.integers(1, 6),
    seed=st.integers(0, 9),
)
def test_least_holds_or_a_sentence_explains(
    kind: str, n: int, classes: int, domains: int, clients: int, log_alpha: float, least: int, seed: int
) -> None:
    alpha = {"alpha": 10**log_alpha} if "dirichlet" in kind else {}
    made = request(kind, n, classes, domains, clients, seed, min_examples=least, **alpha)
    try:
        shared = share_out(made, seed)
    except SynopticError as error:
        assert any(character.isdigit() for character in str(error)), "the reason is given in numbers"
        if kind in ("iid", "dirichlet"):
            assert n < clients * least, "only what is impossible may be refused"
        return
    counts = np.bincount(shared.owner, minlength=shared.clients)
    assert shared.clients == clients
    assert counts.sum() == n
    assert counts.min() >= least
    if kind.startswith("domain"):
        assert made.domains is not None
        assert all(len(np.unique(made.domains[shared.owner == k])) == 1 for k in range(clients))


@given(st.lists(st.integers(0, 30), min_size=1, max_size=30), st.integers(1, 5), st.integers(0, 3))
def test_repair_moves_the_fewest_from_the_richest(sizes: list[int], least: int, seed: int) -> None:
    owner = np.repeat(np.arange(len(sizes)), sizes)
    need = sum(max(least - size, 0) for size in sizes)
    if sum(sizes) < least * len(sizes):
        with pytest.raises(SynopticError, match=r"cannot each get"):
            repair(owner, len(sizes), least, np.random.default_rng(seed))
        return
    mended = repair(owner, len(sizes), least, np.random.default_rng(seed))
    counts = np.bincount(mended, minlength=len(sizes))
    assert (mended != owner).sum() == need
    assert counts.min() >= least
    before = np.array(sizes)
    givers = counts < before
    if givers.any():
        # Levelling from the top: a client that gave nothing is no richer than one that gave, up to one example.
        assert before[~givers].max(initial=0) <= counts[givers].max() + 1
        assert counts[givers].max() - counts[givers].min() <= 1


def test_iid_sizes_differ_by_at_most_one() -> None:
    counts = np.bincount(share_out(request("iid", n=401, clients=7)).owner)
    assert counts.max() - counts.min() == 1


@pytest.mark.parametrize("alpha", [1e-4, 1e-2, 1.0, 1e3])
def test_dirichlet_shares_are_finite_at_any_alpha(alpha: float) -> None:
    drawn = shares(1000, alpha, np.random.default_rng(0))
    assert np.isfinite(drawn).all()
    assert drawn.sum() == pytest.approx(1)


def test_dirichlet_shares_have_the_right_moments() -> None:
    alpha, clients = 0.5, 4
    rng = np.random.default_rng(0)
    drawn = np.stack([shares(clients, alpha, rng) for _ in range(4000)])
    assert np.allclose(drawn.mean(0), 1 / clients, atol=0.02)
    variance = (1 / clients) * (1 - 1 / clients) / (clients * alpha + 1)
    assert np.allclose(drawn.var(0), variance, rtol=0.1)


def test_alpha_orders_the_skew() -> None:
    made = request("dirichlet", n=3000)

    def skew(alpha: float) -> float:
        owner = spread(made.labels, 6, alpha, np.random.default_rng(0))
        table = np.zeros((6, 6))
        np.add.at(table, (owner, made.labels), 1)
        return float((table.max(1) / np.maximum(table.sum(1), 1)).mean())

    assert skew(0.05) > skew(1) > skew(1000)
    assert skew(1000) < 0.25


@pytest.mark.parametrize(("classes", "clients", "expected"), [(6, 3, 2), (6, 6, 1), (7, 3, 3), (4, 9, 1)])
def test_disjoint_classes(classes: int, clients: int, expected: int) -> None:
    made = request("classes", classes=classes, clients=clients)
    owner = share_out(made).owner
    held = [np.unique(made.labels[owner == k]) for k in range(clients)]
    assert max(len(some) for some in held) == expected
    if clients <= classes:
        assert sum(len(some) for some in held) == classes, "a class has one holder"


def test_classes_per_client_is_kept() -> None:
    made = request("classes", n=900, clients=12, classes_per_client=3)
    owner = share_out(made).owner
    assert all(len(np.unique(made.labels[owner == k])) == 3 for k in range(12))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"clients": 2, "classes_per_client": 2}, "2 clients with 2 classes each cover 4 of 6 classes"),
        ({"clients": 2, "classes_per_client": 7}, "no client can hold 7 classes, for only 6 are trained"),
        ({"clients": 300, "n": 60}, "clients cannot each get 1 of"),
        ({"clients": 6, "min_examples": 300}, "would hold fewer than 300 examples"),
    ],
)
def test_infeasible_classes_are_explained(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(SynopticError, match=sentence):
        share_out(request("classes", **options))  # type: ignore[arg-type]


def test_domains_make_named_clients() -> None:
    shared = share_out(request("domain", clients=None))
    assert shared.names == ("domain 0", "domain 1", "domain 2")
    shared = share_out(request("domain", clients=5))
    assert shared.names == ("domain 0-0", "domain 0-1", "domain 1-0", "domain 1-1", "domain 2")


def test_domains_are_explained() -> None:
    with pytest.raises(SynopticError, match="2 clients cannot hold 3 domains"):
        share_out(request("domain", clients=2))
    bare = request("domain")
    without = Request(bare.spec, 3, bare.labels, bare.class_names)
    with pytest.raises(SynopticError, match="needs domains, and the source has none"):
        share_out(without)
    with pytest.raises(SynopticError, match="examples of 'domain 0'"):
        share_out(request("domain_dirichlet", n=30, clients=40))


def test_columns_make_natural_clients() -> None:
    made = request("column", clients=None, column="writer")
    shared = share_out(made)
    assert made.columns is not None
    assert shared.names == tuple(np.unique(made.columns["writer"]))
    assert all(shared.names[k] == value for k, value in zip(shared.owner, made.columns["writer"], strict=True))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"column": "nobody"}, "no column 'nobody' to partition by; its columns are: writer"),
        ({"column": "writer", "clients": 4}, "has 9 values but data.clients is 4"),
        ({"column": "writer", "min_examples": 100}, "of 9 values of 'writer' have fewer than 100 examples"),
    ],
)
def test_wrong_columns_are_explained(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(SynopticError, match=sentence):
        share_out(request("column", **{"clients": None, **options}))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["iid", "dirichlet", "classes", "domain", "domain_dirichlet"])
def test_a_hundred_thousand_clients_in_seconds(kind: str) -> None:
    made = request(kind, n=300_000, classes=10, clients=100_000)
    start = time.perf_counter()
    shared = share_out(made)
    assert time.perf_counter() - start < 5
    assert np.bincount(shared.owner, minlength=100_000).min() >= 1
