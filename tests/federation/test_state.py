from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from rooms import same
from synoptic.core import SynopticError
from synoptic.federation.state import State


def filled() -> State:
    state = State()
    state.adapter = TensorDict({"b": torch.randn(2), "a": torch.randn(3)}, [])
    state.centre = torch.randn(2, 2)
    state.stage, state.count, state.rate, state.done = "rl", 3, 0.5, False
    return state


def test_everything_comes_back_from_bytes() -> None:
    state, again = filled(), State()
    again.left_over = 1
    again.load(state.dump())
    assert list(again) == list(state)
    assert same(again.adapter, state.adapter)
    assert torch.equal(again.centre, state.centre)
    assert (again.stage, again.count, again.rate, again.done) == ("rl", 3, 0.5, False)
    assert again.hash() == state.hash()


def test_the_hash_sees_every_field() -> None:
    state = filled()
    before = state.hash()
    for name, value in {"count": 4, "stage": "sft", "centre": state.centre + 1, "new": 0}.items():
        changed = State()
        changed.load(state.dump())
        setattr(changed, name, value)
        assert changed.hash() != before, name
    state.adapter["a"][0] += 1
    assert state.hash() != before


def test_the_hash_does_not_depend_on_the_order_of_assignment() -> None:
    one, two = State(), State()
    one.a, one.b = 1, 2
    two.b, two.a = 2, 1
    assert one.hash() == two.hash()


def test_gradients_are_cut() -> None:
    state = State()
    state.w = torch.ones(2, requires_grad=True) * 2
    assert not state.w.requires_grad


def test_what_a_checkpoint_cannot_hold_is_refused() -> None:
    with pytest.raises(SynopticError, match=r"server.state.clients cannot be a list; keep adapters"):
        State().clients = [1, 2]  # type: ignore[assignment]


def test_a_missing_field_says_what_there_is() -> None:
    with pytest.raises(AttributeError, match="no 'adaptor'; it has: adapter, centre"):
        filled().adaptor  # noqa: B018
    assert filled().get("adaptor") is None
    assert "adapter" in filled()


def test_the_hash_sees_the_names_of_tensors() -> None:
    one, two = State(), State()
    one.adapter = TensorDict({"a": torch.ones(2), "b": torch.zeros(2)}, [])
    two.adapter = TensorDict({"a": torch.ones(2), "c": torch.zeros(2)}, [])
    assert one.hash() != two.hash()


def test_what_is_put_back_is_as_it_was_even_where_it_was_written_in_place() -> None:
    state = filled()
    before, hashed = state.copy(), state.hash()
    state.adapter["a"][0] += 1
    state.centre.zero_()
    state.count, state.new = 4, 1
    state.put_back(before)
    assert state.hash() == hashed
    assert "new" not in state
