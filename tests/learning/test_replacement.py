from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.blocks import block_of
from synoptic.adapters.stack import names
from synoptic.core import SynopticError
from synoptic.learning.replacement import (
    Held,
    Measure,
    blocks_to_replace,
    by_margin,
    moved,
    paired,
    replaced,
    rolled_back,
    soft_steps,
)

PATHS = {"a": ["all/x", "own/a"], "b": ["all/x", "own/b"]}
losses = st.floats(0, 10)
margins = st.floats(-5, 5)


def models(clients: int, seed: int) -> TensorDict:
    rng = torch.Generator().manual_seed(seed)
    shapes = {"all/x/w": (2, 3), "own/a/w": (4,), "own/a/v": (2,), "own/b/w": (4,), "own/b/scale": ()}
    return TensorDict({name: torch.randn(clients, *shape, generator=rng) for name, shape in shapes.items()},
                      batch_size=[clients])  # fmt: skip


# -- margin --------------------------------------------------------------------------------------------------------


def decide(local: float, personal: float, margin: float, seen: bool = True, first: str = "replace") -> bool:
    return bool(by_margin(torch.tensor(local), torch.tensor(personal), margin, torch.tensor(seen), first))  # type: ignore[arg-type]


@given(losses, losses, margins)
def test_the_papers_rule(local: float, personal: float, margin: float) -> None:
    one, other, least = (torch.tensor(value) for value in (local, personal, margin))
    assert decide(local, personal, margin) == bool(one + least < other)


@given(losses, losses, st.booleans(), st.sampled_from(["replace", "keep"]))
def test_infinite_margins_decide_alone(local: float, personal: float, seen: bool, first: str) -> None:
    assert not decide(local, personal, math.inf, seen, first)
    assert decide(local, personal, -math.inf, seen, first)


@given(losses, losses, margins, st.floats(0, 5), st.booleans())
def test_r4_a_larger_margin_never_replaces_more(
    local: float, personal: float, margin: float, more: float, seen: bool
) -> None:
    for smaller, larger in ((margin, margin + more), (-math.inf, margin), (margin, math.inf)):
        assert decide(local, personal, smaller, seen) >= decide(local, personal, larger, seen)


@pytest.mark.parametrize(("first", "expected"), [("replace", True), ("keep", False)])
def test_the_first_participation_is_said_and_not_a_loss_of_infinity(first: str, expected: bool) -> None:
    assert decide(9.0, math.inf, 0.01, seen=False, first=first) is expected
    assert decide(9.0, math.nan, 0.01, seen=False, first=first) is expected


def test_margins_may_differ_by_task() -> None:
    local, personal = torch.tensor([[1.0, 1.0], [1.0, 1.0]]), torch.tensor([[1.5, 1.5], [0.5, 3.0]])
    found = by_margin(local, personal, torch.tensor([0.4, 0.6]), torch.ones(2, 2, dtype=torch.bool), "replace")
    assert found.tolist() == [[True, False], [False, True]]


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(SynopticError, match="margin is not a number; use a number, inf to never replace"):
        decide(1.0, 1.0, math.nan)
    for local, personal in ((math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan)):
        with pytest.raises(SynopticError, match="training loss is not finite"):
            decide(local, personal, 0.0)


# -- paired --------------------------------------------------------------------------------------------------------


def held(*rows: list[float]) -> Held:
    """Losses of clients, padded with what must not matter."""
    width = max(map(len, rows))
    values = torch.tensor([[*row, *[math.nan] * (width - len(row))] for row in rows])
    return Held(values.nan_to_num(99.0), (~values.isnan()).float())


def test_gain_and_error_are_those_of_the_paired_differences() -> None:
    change = paired(held([3.0, 5.0, 4.0], [1.0]), held([2.0, 3.0, 4.0], [0.5]))
    assert change.gain.tolist() == [1.0, 0.5]
    assert change.error.tolist() == pytest.approx([1 / math.sqrt(3), math.inf])
    assert change.before.tolist() == [4.0, 1.0]


def test_better_needs_more_than_noise() -> None:
    change = paired(held([3.0, 5.0, 4.0]), held([2.0, 3.0, 4.0]))
    assert change.better(1.7).item()
    assert not change.better(1.8).item()
    assert not change.better(0.0, least=0.25).item(), "the gain is a quarter of the loss, not more"
    assert not change.worse(0.0).item()
    back = paired(held([2.0, 3.0, 4.0]), held([3.0, 5.0, 4.0]))
    assert back.worse(1.7).item()
    assert not back.worse(1.8).item()
    assert not back.worse(0.0, most=0.5).item()


@pytest.mark.parametrize("rows", [[], [1.0]])
def test_without_two_examples_nothing_is_known(rows: list[float]) -> None:
    at_hand, other = held(rows, [1.0, 1.0]), held([value / 2 for value in rows], [0.5, 0.6])
    change = paired(at_hand, other)
    assert change.better(1.0).tolist() == [False, True]
    assert change.worse(1.0).tolist() == [False, False]


@given(st.lists(st.floats(0.01, 10), min_size=2, max_size=9), st.floats(0, 3))
def test_the_same_model_is_neither_better_nor_worse(values: list[float], z: float) -> None:
    change = paired(held(values), held(values))
    assert not change.better(z)
    assert not change.worse(z)


@given(st.lists(st.floats(0.01, 10), min_size=3, max_size=9), st.floats(0.5, 100), st.integers(0, 99))
def test_the_unit_of_a_loss_does_not_matter(values: list[float], unit: float, seed: int) -> None:
    apart = torch.randn(len(values), generator=torch.Generator().manual_seed(seed))
    one = paired(held(values), Held(held(values).losses + apart, torch.ones(1, len(values))))
    scaled = paired(
        held([value * unit for value in values]), Held((held(values).losses + apart) * unit, torch.ones(1, len(values)))
    )
    ratio = torch.stack([one.gain / one.error, scaled.gain / scaled.error])
    assert torch.allclose(ratio[0], ratio[1], rtol=1e-2, atol=1e-3)


def test_models_are_compared_on_the_same_examples() -> None:
    with pytest.raises(SynopticError, match="measured on different examples"):
        paired(held([1.0, 2.0]), held([1.0]))
    with pytest.raises(SynopticError, match="held-out loss is not finite"):
        paired(held([1.0]), Held(torch.tensor([[math.inf]]), torch.ones(1, 1)))


def yes(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.bool)


def test_a_task_that_suffers_keeps_what_is_shared() -> None:
    chosen = blocks_to_replace(PATHS, {"a": yes(1, 1, 0), "b": yes(1, 0, 0)}, {"a": yes(0, 0, 0), "b": yes(0, 1, 1)})
    assert {block: found.tolist() for block, found in chosen.items()} == {
        "all/x": [True, False, False], "own/a": [True, True, False], "own/b": [True, False, False]
    }  # fmt: skip
    back = rolled_back(chosen, {"a": yes(0, 0, 0), "b": yes(1, 0, 0)})
    assert {block: found.tolist() for block, found in back.items()} == {
        "all/x": [False, False, False], "own/a": [False, True, False], "own/b": [False, False, False]
    }  # fmt: skip
    assert rolled_back(chosen, {}) == chosen


# -- carrying out --------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=4), st.integers(0, 99))
def test_r3_chosen_blocks_are_the_sources_bit_for_bit_and_others_unchanged(
    choices: list[tuple[bool, bool]], seed: int
) -> None:
    personal, source = models(len(choices), seed), models(len(choices), seed + 1)
    chosen = {"all/x": yes(*(one for one, _ in choices)), "own/a": yes(*(two for _, two in choices))}
    before = personal.clone()
    result = replaced(personal, source, chosen)
    for name in names(personal):
        for k in range(len(choices)):
            taken = block_of(name) in chosen and bool(chosen[block_of(name)][k])
            assert torch.equal(result[name][k], (source if taken else personal)[name][k])
        assert torch.equal(personal[name], before[name])


def test_moving_ends_exactly_at_either_side() -> None:
    personal, source = models(3, 0), models(3, 1)
    result = moved(personal, source, {"own/a": torch.tensor([0.0, 0.25, 1.0])})
    assert torch.equal(result["own/a/w"][0], personal["own/a/w"][0])
    assert torch.allclose(result["own/a/w"][1], 0.75 * personal["own/a/w"][1] + 0.25 * source["own/a/w"][1])
    assert torch.equal(result["own/a/w"][2], source["own/a/w"][2])
    assert torch.equal(result["own/b/w"], personal["own/b/w"])


def test_a_block_that_one_side_lacks() -> None:
    personal = models(1, 0)
    with pytest.raises(SynopticError, match="block 'own/c' cannot be replaced, because one side lacks it"):
        replaced(personal, personal, {"own/c": yes(1)})


# -- soft ----------------------------------------------------------------------------------------------------------


def bowls(targets: Mapping[str, TensorDict], noise: float = 0.0) -> Measure:
    """A task's loss is the squared distance of the blocks on its path from where it wants them, on 8 examples."""

    def measure(stack: TensorDict) -> dict[str, Held]:
        found = {}
        for task, wanted in targets.items():
            mine = [name for name in names(stack) if block_of(name) in PATHS[task]]
            apart = sum((stack[name] - wanted[name]).square().reshape(len(stack), -1).sum(1) for name in mine)
            assert isinstance(apart, Tensor)
            spread = torch.linspace(-noise, noise, 8)
            found[task] = Held(apart[:, None] + 1 + spread, torch.ones(len(stack), 8))
        return found

    return measure


def test_each_block_goes_as_far_as_it_helps() -> None:
    personal, source = models(2, 0), models(2, 1)
    for step in (0.0, 0.25, 0.5, 1.0):
        wanted = moved(personal, source, {"all/x": torch.tensor([step, 1.0]), "own/b": torch.tensor([1.0, step])})
        found = soft_steps(personal, source, bowls({"a": wanted, "b": wanted}))
        assert found["all/x"].tolist() == [step, 1.0]
        assert found["own/a"].tolist() == [0.0, 0.0]
        assert found["own/b"].tolist() == [1.0, step]


def test_a_task_that_would_suffer_forbids_the_step() -> None:
    personal, source = models(1, 0), models(1, 1)
    tasks = {"a": source, "b": personal}  # one wants everything, the other nothing
    found = soft_steps(personal, source, bowls(tasks))
    assert found["all/x"].item() == 0.0
    assert found["own/a"].item() == 1.0
    assert found["own/b"].item() == 0.0


def test_blocks_that_only_help_together_move_together() -> None:
    personal, source = models(1, 0), models(1, 1)

    def valley(stack: TensorDict) -> dict[str, Held]:
        """One block alone breaks what both together mend."""
        steps = [float(torch.dist(stack[name], personal[name]) / torch.dist(source[name], personal[name]))
                 for name in ("all/x/w", "own/a/w")]  # fmt: skip
        loss = 2.0 + 5 * (steps[0] - steps[1]) ** 2 - sum(steps) / 2
        return {"a": Held(torch.full((1, 4), loss), torch.ones(1, 4))}

    found = soft_steps(personal, source, valley)
    assert found["all/x"].item() == found["own/a"].item() == 1.0


def test_clients_decide_for_themselves() -> None:
    personal, source = models(3, 0), models(3, 1)
    wanted = moved(personal, source, {"all/x": torch.tensor([0.5, 1.0, 0.0]), "own/a": torch.tensor([1.0, 0.0, 0.25])})
    together = soft_steps(personal, source, bowls({"a": wanted, "b": wanted}))
    for k in range(3):
        mine = dict.fromkeys(PATHS, wanted[k : k + 1])
        alone = soft_steps(personal[k : k + 1], source[k : k + 1], bowls(mine))
        assert {block: steps[k].item() for block, steps in together.items()} == {
            block: steps.item() for block, steps in alone.items()
        }


def test_without_held_out_examples_everything_stays() -> None:
    personal, source = models(1, 0), models(1, 1)

    def nothing(stack: TensorDict) -> dict[str, Held]:
        return {"a": Held(torch.zeros(1, 0), torch.zeros(1, 0))}

    assert all(step.item() == 0.0 for step in soft_steps(personal, source, nothing).values())


@pytest.mark.parametrize("steps", [(), (0.0, 1.0), (0.5, 1.5)])
def test_steps_lie_between_staying_and_replacing(steps: tuple[float, ...]) -> None:
    with pytest.raises(SynopticError, match="blocks cannot move by"):
        soft_steps(models(1, 0), models(1, 1), bowls({"a": models(1, 1)}), steps=steps)
