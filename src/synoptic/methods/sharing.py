"""Who shares what with whom: a pure function from agreement to groups of clients and shared factors.

Legend: N clients, S sites, 3 kinds of agreement (inputs, outputs, whole updates), m x r numbers of a summary, G groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from synoptic.adapters.subspaces import alignment, disattenuated, update_alignment, update_chance

SIDES = ("A", "B")
"""The factor of each side: A reads inputs, B writes outputs."""


INPUTS, OUTPUTS, UPDATES = range(3)

SURE = 3.0
"""Standard deviations from chance at which a group is believed; the most alike of many pairs are not that far."""


@dataclass(frozen=True)
class Evidence:
    """Agreement: ``within [N, S, 3]`` of a client's two halves, ``between [N, N, S, 3]`` of different clients' halves.

    ``chance [N, N]`` is the variance that the mean over sites of ``between``'s whole updates has by chance.
    """

    within: Tensor
    between: Tensor
    chance: Tensor


@dataclass(frozen=True)
class Bounds:
    """How alike clients must be, in units of their agreement with themselves.

    Attributes:
        both: in whole updates, to share both factors.
        side: in inputs (outputs), to share A (B) alone.
        slack: hysteresis; what is shared already needs that much less.
    """

    both: float
    side: float
    slack: float = 0.0


@dataclass(frozen=True)
class Decision:
    """Groups of clients who share something, and which side of which site each shares: ``shares [G, S, 2]``."""

    groups: list[list[int]]
    shares: Tensor

    def member(self, clients: int) -> Tensor:
        """The group of each of so many clients, -1 for those who share nothing."""
        return _places(self.groups, clients)


def evidence(summaries: Tensor, spaces: list[tuple[int, int]]) -> Evidence:
    """Agreement of all clients' halves.

    Args:
        summaries: ``[N, 2, S, 3, m, r]``: client, half, site; moved inputs, then outputs and inputs of the update.
        spaces: for each site how many of the m rows its inputs and outputs have (the rest is padding).
    """
    N, _, S = summaries.shape[:3]
    within, between = torch.zeros(N, S, 3, dtype=torch.float64), torch.zeros(N, N, S, 3, dtype=torch.float64)
    chance = torch.zeros(N, N, dtype=torch.float64)
    for site, (wide, high) in enumerate(spaces):
        halves = summaries[:, :, site].transpose(0, 1).flatten(0, 1)
        kinds = {
            INPUTS: alignment(halves[:, 0, :wide]),
            OUTPUTS: alignment(halves[:, 1, :high]),
            UPDATES: update_alignment(halves[:, 1], halves[:, 2]),
        }
        for kind, both in kinds.items():
            quarters = both.view(2, N, 2, N)
            within[:, site, kind] = quarters[0, :, 1].diagonal()
            between[:, :, site, kind] = quarters.mean((0, 2))
        # The four pairs of halves are hardly independent, so their mean is taken to vary like one of them.
        chance += update_chance(halves[:, 1], halves[:, 2]).view(2, N, 2, N).mean((0, 2)) / S**2
    return Evidence(within, between, chance)


def decide(found: Evidence, bounds: Bounds, together: Tensor | None = None, shared: Tensor | None = None) -> Decision:
    """Groups first, then for every site of a group which factors its members share.

    Both where whole updates agree; otherwise the factor of the better side, if that agrees well enough; or neither.

    Args:
        found: agreement of N clients.
        bounds: from when on they share.
        together: ``[N, N]``, pairs that form a group now.
        shared: ``[N, S, 2]``, which of A and B each client shares now.
    """
    clients, sites = found.within.shape[:2]
    bonus = torch.zeros(clients, clients) if together is None else bounds.slack * together.double()
    shared = torch.zeros(clients, sites, 2, dtype=torch.bool) if shared is None else shared
    groups, shares = [], []
    for group in grouped(found, bounds, bonus):
        chosen = _factors(_ratio(found, group), bounds, shared[group].double().mean(0))
        if len(group) > 1 and bool(chosen.any()):
            groups.append(group)
            shares.append(chosen)
    return Decision(groups, torch.stack(shares) if shares else torch.zeros(0, sites, 2, dtype=torch.bool))


def _factors(agreement_S3: Tensor, bounds: Bounds, now_S2: Tensor) -> Tensor:
    """Which of A and B ``[S, 2]`` a group shares, given how much of each its members share now."""
    whole = agreement_S3[:, UPDATES] + bounds.slack * now_S2.prod(1) >= bounds.both
    sides = agreement_S3[:, :UPDATES] + bounds.slack * now_S2
    better = torch.nn.functional.one_hot(sides.argmax(1), 2).bool()
    return whole[:, None] | (better & (sides >= bounds.side))


def grouped(found: Evidence, bounds: Bounds, bonus: Tensor) -> list[list[int]]:
    """Groups of clients whose whole updates agree; whoever is left is a group if all of these agree on one side.

    Sums over all sites come before the division, so that a site counts by how much it can tell.
    """
    within, between = found.within.mean(1), found.between.mean(2)
    relation = disattenuated(between[:, :, UPDATES], within[:, UPDATES].mean()) + bonus
    groups = linked(relation, bounds.both)
    believed = [group for group in groups if len(group) > 1 and _sure(found, between[:, :, UPDATES], group)]
    left = sorted(set(range(len(relation))) - {client for group in believed for client in group})
    if len(left) > 1:
        pairs = ~torch.eye(len(left), dtype=torch.bool)
        sides = disattenuated(between[left][:, left][pairs].mean(0), within[left].mean(0))[:UPDATES]
        if float(sides.max() + bonus[left][:, left][pairs].mean()) >= bounds.side:
            return [*believed, left]
    return [*believed, *([client] for client in left)]


def _sure(found: Evidence, updates_NN: Tensor, group: list[int]) -> bool:
    """Whether a group agrees by more than chance, all its pairs taken together."""
    pairs = ~torch.eye(len(group), dtype=torch.bool)
    spread = (found.chance[group][:, group][pairs].mean() / (pairs.sum() / 2)).sqrt()
    return bool(updates_NN[group][:, group][pairs].mean() >= SURE * spread)


def linked(relation: Tensor, least: float) -> list[list[int]]:
    """Average linkage: the two most alike groups become one, as long as they are at least that alike."""
    groups = [[client] for client in range(len(relation))]
    alike = relation.double().clone().fill_diagonal_(-torch.inf)
    while len(groups) > 1 and float(alike.max()) >= least:
        one, two = sorted(divmod(int(alike.argmax()), len(alike)))
        sizes = len(groups[one]), len(groups[two])
        row = (sizes[0] * alike[one] + sizes[1] * alike[two]) / sum(sizes)
        alike[one], alike[:, one] = row, row
        alike[one, one] = -torch.inf
        rest = [place for place in range(len(groups)) if place != two]
        alike = alike[rest][:, rest]
        groups[one] = sorted(groups[one] + groups.pop(two))
    return groups


def _places(groups: list[list[int]], clients: int) -> Tensor:
    place = torch.full((clients,), -1)
    for number, group in enumerate(groups):
        place[group] = number
    return place


def _ratio(found: Evidence, group: list[int]) -> Tensor:
    """Agreement ``[S, 3]`` of different clients of a group; NaN for one alone."""
    pairs = found.between[group][:, group]
    different = ~torch.eye(len(group), dtype=torch.bool)
    return disattenuated(pairs[different].mean(0), found.within[group].mean(0))
