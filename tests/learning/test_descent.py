from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from helpers import randomised
from rooms import bench, digits, same
from synoptic.adapters.stack import expand, leaves, names, pack, trainable_names
from synoptic.core import SynopticError
from synoptic.federation.bench import Bench
from synoptic.federation.state import State
from synoptic.learning.batches import Steps
from synoptic.learning.descent import Descended, descend
from synoptic.learning.fit import Loss, fit
from synoptic.learning.optim import no_moments
from synoptic.learning.spec import TrainSpec

SPECS = {
    "adamw": TrainSpec(weight_decay=0.01, clip_norm=0.5),
    "sgd": TrainSpec(optimizer="sgd"),
    "momentum": TrainSpec(optimizer="sgd", momentum=0.9, weight_decay=0.01),
}


def job() -> tuple[Bench, TensorDict, Loss, Steps]:
    on = bench(digits())
    loss = on.classifier.loss(on.train_rows, on.data.train.labels, on.data.base_classes)
    positions = on.data.clients.train(0)
    return on, randomised(on.new_adapter(), 0, 0.1), loss, [positions[i : i + 3] for i in range(0, 12, 3)]


def went(spec: TrainSpec, *parts: int, stop: bool = False, **more: Any) -> Descended:
    """Four steps in calls of so many, with or without a stop of the process in between."""
    _, adapter, loss, steps = job()
    moments, done = no_moments(), None
    for first, count in zip(np.cumsum([0, *parts]), parts, strict=False):
        done = descend(adapter, moments, steps[first : first + count], loss, spec, 0.01, **more)
        adapter, moments = done.adapter, done.moments
        if stop:
            state, again = State(), State()
            state.adapter, state.moments = adapter, moments
            again.load(state.dump())
            assert again.hash() == state.hash()
            adapter, moments = again.adapter, again.moments
    assert done is not None
    return done


@pytest.mark.parametrize("spec", SPECS)
def test_one_call_is_a_fit_of_one_client(spec: str) -> None:
    _, adapter, loss, steps = job()
    fitted = fit(expand(adapter, 1), [steps], loss, SPECS[spec], 0.01)
    done = went(SPECS[spec], 4)
    assert same(done.adapter, fitted.stack[0])
    assert not same(done.adapter, adapter)
    assert done.loss == pytest.approx(float(fitted.loss), rel=1e-6)
    assert done.grad_norm > 0


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("stop", [False, True])
def test_many_calls_are_one_call_bit_for_bit_even_with_stops_between(spec: str, stop: bool) -> None:
    whole, parts = went(SPECS[spec], 4), went(SPECS[spec], 1, 2, 1, stop=stop)
    assert same(parts.adapter, whole.adapter)
    assert set(parts.moments.keys()) == set(whole.moments.keys())
    for name, tensor in whole.moments.items():
        assert torch.equal(parts.moments[name], tensor)


def test_an_optimiser_that_starts_anew_ends_elsewhere() -> None:
    _, adapter, loss, steps = job()
    for part in (steps[:2], steps[2:]):
        adapter = descend(adapter, no_moments(), part, loss, SPECS["adamw"], 0.01).adapter
    assert not same(adapter, went(SPECS["adamw"], 4).adapter)


def test_moments_and_adapter_that_come_in_stay_as_they_are() -> None:
    _, adapter, loss, steps = job()
    first = descend(adapter, no_moments(), steps[:2], loss, SPECS["adamw"], 0.01)
    kept = first.moments.clone()
    start = first.adapter.clone()
    descend(first.adapter, first.moments, steps[2:], loss, SPECS["adamw"], 0.01)
    assert same(first.adapter, start)
    assert all(torch.equal(first.moments[name], kept[name]) for name in ("first", "second", "steps"))
    assert int(kept["steps"]) == 2


def test_only_what_may_move_moves() -> None:
    _, adapter, _, _ = job()
    done = went(SPECS["adamw"], 2, 2, trainable="*/B")
    moved = {name for name in names(adapter) if not torch.equal(done.adapter[name], adapter[name])}
    assert moved == set(trainable_names(adapter, "*/B"))
    assert done.moments["first"].shape == pack(expand(adapter, 1), sorted(moved))[0].shape
    assert names(done.adapter) == names(adapter)
    assert all(done.adapter[name].shape == tensor.shape for name, tensor in leaves(adapter).items())


def test_moments_of_something_else_are_refused() -> None:
    _, adapter, loss, steps = job()
    moments = went(SPECS["adamw"], 4).moments
    with pytest.raises(SynopticError, match=r"moments \(first, second, steps\) are not those of sgd; go on with"):
        descend(adapter, moments, steps, loss, SPECS["momentum"], 0.01)
    with pytest.raises(SynopticError, match=r"'first' has the shape \(1, \d+\) and what is trained \(1, \d+\); go on"):
        descend(adapter, moments, steps, loss, SPECS["adamw"], 0.01, trainable="*/A")
