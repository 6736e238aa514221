"""Agreement of clients from small summaries: what it must not depend on, and its two ends."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from synoptic.adapters.subspaces import (
    alignment,
    disattenuated,
    halves_of_update,
    moved_inputs,
    reference,
    summary,
    update_alignment,
    update_chance,
)
from synoptic.core.seeds import generator

D, HIGH, RANK, M = 24, 20, 3, 12

seeds = st.integers(0, 2**31)
widths = st.sampled_from([M, D, 2 * D])


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed, "tests", "subspaces"), dtype=torch.float64)


def told(A: Tensor, B: Tensor, A0: Tensor, directions: int = M) -> tuple[Tensor, Tensor, Tensor]:
    """Summaries of moved inputs, and of both halves of the update."""
    of_inputs, of_outputs = (reference(width, directions, generator(9, "tests", str(width))) for width in (D, HIGH))
    outputs, inputs = halves_of_update(A, B)
    return summary(moved_inputs(A, B, A0), of_inputs), summary(outputs, of_outputs), summary(inputs, of_inputs)


def numbers(A: Tensor, B: Tensor, A0: Tensor, directions: int = M) -> list[Tensor]:
    moved, outputs, inputs = told(A, B, A0, directions)
    return [alignment(moved), alignment(outputs), update_alignment(outputs, inputs), update_chance(outputs, inputs)]


@given(seeds, widths)
@settings(max_examples=20, deadline=None)
def test_the_basis_inside_a_pair_does_not_matter(seed: int, directions: int) -> None:
    A, B, A0 = draw(seed, 4, RANK, D), draw(seed + 1, 4, HIGH, RANK), draw(seed + 2, RANK, D)
    R = draw(seed + 3, 4, RANK, RANK) + 3 * torch.eye(RANK)
    inverse = torch.linalg.inv(R)
    of_outputs = reference(HIGH, directions, generator(9, "tests", str(HIGH)))
    of_inputs = reference(D, directions, generator(9, "tests", str(D)))
    for k in range(4):
        # Everybody's start is one A_0, which each client's change of basis changes too.
        one = moved_inputs(A[k : k + 1], B[k : k + 1], A0)
        two = moved_inputs(inverse[k] @ A[k : k + 1], B[k : k + 1] @ R[k], inverse[k] @ A0)
        both = alignment(torch.cat([summary(one, of_inputs), summary(two, of_inputs)]))
        assert both[0, 1] > 1 - 1e-4
    plain, turned = (halves_of_update(*pair) for pair in ((A, B), (inverse @ A, B @ R)))
    ours, theirs = ([summary(o, of_outputs), summary(i, of_inputs)] for o, i in (plain, turned))
    torch.testing.assert_close(alignment(ours[0]), alignment(theirs[0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(update_alignment(*ours), update_alignment(*theirs), atol=1e-4, rtol=0)


@given(seeds, st.permutations(range(5)))
@settings(max_examples=15, deadline=None)
def test_permuting_clients_permutes_the_numbers(seed: int, order: list[int]) -> None:
    A, B, A0 = draw(seed, 5, RANK, D), draw(seed + 1, 5, HIGH, RANK), draw(seed + 2, RANK, D)
    for before, after in zip(numbers(A, B, A0), numbers(A[order], B[order], A0), strict=True):
        torch.testing.assert_close(before[order][:, order], after, atol=1e-9, rtol=0)


@given(seeds, widths)
@settings(max_examples=15, deadline=None)
def test_who_moved_alike_agrees_fully(seed: int, directions: int) -> None:
    A, B, A0 = draw(seed, 1, RANK, D), draw(seed + 1, 1, HIGH, RANK), draw(seed + 2, RANK, D)
    for agreed in numbers(A.repeat(3, 1, 1), B.repeat(3, 1, 1), A0, directions)[:3]:
        torch.testing.assert_close(agreed, torch.ones(3, 3, dtype=torch.float64), atol=1e-5, rtol=0)


def test_strangers_agree_by_chance_which_is_zero() -> None:
    """Over many pairs, because one pair may be lucky; the reference has fewer directions than the space."""
    clients = 60
    A, B = draw(0, clients, RANK, D), draw(1, clients, HIGH, RANK)
    off = ~torch.eye(clients, dtype=torch.bool)
    inputs, outputs, updates, chance = numbers(A, B, torch.zeros(RANK, D, dtype=torch.float64))
    for agreed in (inputs, outputs, updates):
        assert abs(float(agreed[off].mean())) < 0.02
    spread = float(updates[off].square().mean() / chance[off].mean())
    assert 0.7 < spread < 1.4, "the variance by chance is what it says"


def test_opposite_updates_share_their_spaces_and_disagree() -> None:
    A, B = draw(0, 1, RANK, D), draw(1, 1, HIGH, RANK)
    inputs, outputs, updates, _ = numbers(torch.cat([A, A]), torch.cat([B, -B]), torch.zeros(RANK, D).double())
    assert float(inputs[0, 1]) > 1 - 1e-5
    assert float(outputs[0, 1]) > 1 - 1e-5
    assert float(updates[0, 1]) < -1 + 1e-5


def test_a_common_start_is_no_agreement() -> None:
    """Rows of A that hardly moved are everybody's; what moved is each client's own."""
    A0 = draw(0, RANK, D)
    A = A0 + 0.01 * draw(1, 40, RANK, D)
    moved = numbers(A, draw(2, 40, HIGH, RANK), A0)[0]
    rows = numbers(A, draw(2, 40, HIGH, RANK), torch.zeros_like(A0))[0]
    off = ~torch.eye(40, dtype=torch.bool)
    assert float(rows[off].mean()) > 0.5
    assert abs(float(moved[off].mean())) < 0.05


def test_what_did_not_move_agrees_with_nothing_and_breaks_nothing() -> None:
    A, B = draw(0, 2, RANK, D), draw(1, 2, HIGH, RANK)
    B[0] = 0
    for agreed in numbers(A, B, torch.zeros(RANK, D).double())[:3]:
        assert torch.isfinite(agreed).all()
        assert float(agreed[0, 1]) == 0


def test_two_halves_of_an_update_are_the_update() -> None:
    A, B = draw(0, 3, RANK, D), draw(1, 3, HIGH, RANK)
    outputs, inputs = halves_of_update(A, B)
    torch.testing.assert_close(outputs @ inputs.mT, B @ A)


@given(st.floats(-0.5, 1), st.floats(0.05, 1))
def test_agreement_is_counted_in_units_of_ones_own(between: float, within: float) -> None:
    ratio = float(disattenuated(torch.tensor(between), torch.tensor(within), prior=0.0))
    assert abs(ratio - max(between, 0) / within) < 1e-5
    nothing = float(disattenuated(torch.tensor(0.0), torch.tensor(0.0)))
    assert nothing == 1, "where nothing can be told, nobody is told apart"
