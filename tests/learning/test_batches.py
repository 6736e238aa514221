from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from synoptic.core import SynopticError
from synoptic.learning.batches import plan, training_order, zip_steps
from synoptic.learning.spec import TrainSpec

sizes = st.integers(1, 40)


@given(sizes, st.integers(1, 9), st.integers(1, 3), st.integers(0, 99), st.integers(0, 5), st.integers(0, 5))
def test_every_example_comes_once_an_epoch(
    n: int, batch: int, epochs: int, seed: int, round_: int, client: int
) -> None:
    positions = np.arange(100, 100 + n)
    steps = plan(positions, TrainSpec(batch_size=batch, epochs=epochs), seed, round_, client)
    per_epoch = -(-n // batch)
    assert len(steps) == epochs * per_epoch
    for epoch in range(epochs):
        part = steps[epoch * per_epoch : (epoch + 1) * per_epoch]
        assert sorted(np.concatenate(part)) == sorted(positions)
        assert [len(some) for some in part[:-1]] == [batch] * (per_epoch - 1)


@given(sizes, st.integers(1, 9), st.integers(1, 20))
def test_steps_are_exactly_so_many(n: int, batch: int, count: int) -> None:
    steps = plan(np.arange(n), TrainSpec(batch_size=batch, steps=count), 0, 0, 0)
    assert len(steps) == count
    longer = plan(np.arange(n), TrainSpec(batch_size=batch, epochs=count), 0, 0, 0)
    assert all(np.array_equal(one, two) for one, two in zip(steps, longer, strict=False))


def test_a_plan_is_a_pure_function_of_seed_round_and_client() -> None:
    def order(seed: int, round_: int, client: int) -> list[int]:
        np.random.rand(3)
        steps = plan(np.arange(30), TrainSpec(), seed, round_, client)
        return [int(position) for some in steps for position in some]

    assert order(1, 2, 3) == order(1, 2, 3)
    others = [order(0, 2, 3), order(1, 0, 3), order(1, 2, 0), order(1, 3, 2)]
    assert all(other != order(1, 2, 3) for other in others)


def test_epochs_are_shuffled_anew() -> None:
    first, second = plan(np.arange(30), TrainSpec(batch_size=30, epochs=2), 0, 0, 0)
    assert first.tolist() != second.tolist()


def test_a_client_without_examples_is_one_sentence() -> None:
    with pytest.raises(SynopticError, match=r"^client 7 has no training example; .*\.$"):
        plan(np.arange(0), TrainSpec(), 0, 0, 7)


@given(st.lists(st.tuples(sizes, st.integers(1, 2)), min_size=1, max_size=5), st.integers(1, 8))
def test_zipped_steps_hold_every_clients_own_batches(clients: list[tuple[int, int]], batch: int) -> None:
    plans = [
        plan(np.arange(100 * k, 100 * k + n), TrainSpec(batch_size=batch, epochs=epochs), 0, 0, k)
        for k, (n, epochs) in enumerate(clients)
    ]
    order = training_order(plans)
    seen: list[list[np.ndarray]] = [[] for _ in plans]
    for step in zip_steps(plans):
        assert step.clients.tolist() == order[: len(step.clients)].tolist()
        for row, client in enumerate(step.clients):
            real = step.weight[row].bool().numpy()
            assert set(step.weight[row].tolist()) <= {0.0, 1.0}
            assert (step.rows[row][~real] == step.rows[row][0]).all()
            seen[client].append(step.rows[row][real])
    for client, steps in enumerate(plans):
        assert [some.tolist() for some in seen[client]] == [some.tolist() for some in steps]


def test_the_mean_counts_real_rows_only() -> None:
    plans = [[np.array([1, 2, 3])], [np.array([4])]]
    (step,) = zip_steps(plans)
    assert step.rows.tolist() == [[1, 2, 3], [4, 4, 4]]
    values = torch.tensor([[1.0, 2.0, 6.0], [5.0, 100.0, 100.0]])
    assert step.mean(values).tolist() == [3.0, 5.0]
