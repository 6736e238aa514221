"""Who shares what with whom, decided from summaries alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from linear import REGIMES, adaptive, fixed, probed, students

from synoptic.methods.sharing import Bounds, Evidence, decide, linked

EXPECTED = {
    "iid": ([10], [[1, 1]]),
    "common outputs": ([10], [[0, 1]]),
    "common inputs": ([10], [[1, 0]]),
    "common and personal": ([10], [[1, 1]]),
    "two clusters": ([5, 5], [[1, 1], [1, 1]]),
    "unrelated": ([], []),
}


@pytest.mark.parametrize("regime", REGIMES)
def test_every_regime_is_told_apart(regime: str) -> None:
    """In most draws: a decision is made of one site and few noisy examples, and a miss must be on the careful side."""
    found = []
    for seed in range(100, 108):
        decision, _ = probed(students(regime, seed), seed)
        found.append((sorted(map(len, decision.groups)), decision.shares[:, 0].int().tolist()))
    right = sum(one == EXPECTED[regime] for one in found)
    assert right > 4, found
    missed = [one for one in found if one != EXPECTED[regime]]
    if regime != "iid":
        assert all([1, 1] not in shares for _, shares in missed), "nobody shares everything by mistake"


@pytest.mark.parametrize(("regime", "better"), [("two clusters", 0.3), ("iid", 0.3), ("unrelated", 1.15)])
def test_it_is_as_good_as_the_best_rule_or_much_better_than_working_alone(regime: str, better: float) -> None:
    assert adaptive(regime, 200, rounds=20) < better * fixed(regime, 200, "", rounds=20)


def evidence_of(updates: torch.Tensor, inputs: float = 0.0, outputs: float = 0.0, chance: float = 1e-4) -> Evidence:
    """Agreement of N clients at one site, whose own halves agree fully."""
    N = len(updates)
    sides = torch.tensor([inputs, outputs]).expand(N, N, 1, 2)
    between = torch.cat([sides, updates[:, :, None, None]], dim=-1).double()
    return Evidence(torch.ones(N, 1, 3).double(), between, torch.full((N, N), chance).double())


def blocks(*sizes: int) -> torch.Tensor:
    return torch.block_diag(*(torch.ones(size, size) for size in sizes))


def test_agreeing_updates_form_groups_and_share_both() -> None:
    decision = decide(evidence_of(blocks(3, 2, 1)), Bounds(0.5, 0.7))
    assert decision.groups == [[0, 1, 2], [3, 4]]
    assert decision.shares.all()
    assert decision.member(6).tolist() == [0, 0, 0, 1, 1, -1]


def test_agreement_on_one_side_shares_that_factor_alone() -> None:
    bounds = Bounds(0.5, 0.7)
    assert decide(evidence_of(blocks(1, 1, 1), inputs=0.9, outputs=0.2), bounds).shares.tolist() == [[[True, False]]]
    assert decide(evidence_of(blocks(1, 1, 1), inputs=0.8, outputs=0.9), bounds).shares.tolist() == [[[False, True]]]
    assert decide(evidence_of(blocks(1, 1, 1), inputs=0.6, outputs=0.6), bounds).groups == []


def test_a_group_must_agree_by_more_than_chance() -> None:
    assert decide(evidence_of(blocks(2, 1), chance=0.1), Bounds(0.5, 0.7)).groups == [[0, 1]]
    assert decide(evidence_of(blocks(2, 1), chance=0.2), Bounds(0.5, 0.7)).groups == []


def test_what_is_shared_needs_less_to_stay_shared() -> None:
    weak = evidence_of(0.45 * torch.ones(3, 3))
    bounds, everything = Bounds(0.5, 0.7, slack=0.1), torch.ones(3, 1, 2, dtype=torch.bool)
    assert decide(weak, bounds).groups == []
    again = decide(weak, bounds, together=torch.ones(3, 3, dtype=torch.bool), shared=everything)
    assert again.groups == [[0, 1, 2]]
    assert again.shares.all()
    weaker = evidence_of(0.35 * torch.ones(3, 3))
    assert decide(weaker, bounds, torch.ones(3, 3, dtype=torch.bool), everything).groups == []


@given(st.permutations(range(6)))
@settings(max_examples=15, deadline=None)
def test_the_order_of_clients_does_not_matter(order: list[int]) -> None:
    found = evidence_of(blocks(3, 2, 1))
    mixed = Evidence(found.within[order], found.between[order][:, order], found.chance)
    groups = {frozenset(order[client] for client in group) for group in decide(mixed, Bounds(0.5, 0.7)).groups}
    assert groups == {frozenset({0, 1, 2}), frozenset({3, 4})}


def test_linkage_is_by_the_mean_of_all_pairs() -> None:
    relation = torch.tensor([[1.0, 0.9, 0.8, 0.0], [0.9, 1.0, 0.1, 0.0], [0.8, 0.1, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    assert linked(relation, 0.4) == [[0, 1, 2], [3]]
    assert linked(relation, 0.5) == [[0, 1], [2], [3]]
