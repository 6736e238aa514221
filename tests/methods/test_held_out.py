from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aligned import aligning_bench, tastes
from synoptic.core import SynopticError
from synoptic.data.federated import FederatedData
from synoptic.data.rows import Rows
from synoptic.federation.cohort import Cohort
from synoptic.federation.personal import Personal, PersonalStore
from synoptic.learning.preferring import ties
from synoptic.methods.held_out import Pairs, Training

WHO = [0, 1, 2]


def with_ties(*rows: int, validation: bool = False) -> FederatedData:
    """Pairs by taste of which some have the same answer twice, but for blanks; without validation rows unless asked."""
    data = tastes()
    words = data.train.words
    assert words is not None and words.rejected is not None
    rejected = tuple(f" {words.answers[row]}" if row in rows else text for row, text in enumerate(words.rejected))
    clients = data.clients if validation else replace(data.clients, val_rows=Rows.empty(len(WHO)))
    return replace(data, train=replace(data.train, words=replace(words, rejected=rejected)), clients=clients)


def cohort(data: FederatedData, round_: int = 0) -> Cohort:
    return Cohort(WHO, aligning_bench(data), Personal(PersonalStore(), WHO), round_)


def pairs(data: FederatedData, share: float = 0.2, tied: str = "drop") -> Pairs:
    return Pairs(cohort(data), share, tied)


@given(st.sets(st.integers(0, 35), max_size=25), st.sampled_from([0.0, 0.1, 0.4]))
@settings(max_examples=15, deadline=None)
def test_every_pair_is_learned_from_or_set_aside_and_ties_are_neither(rows: set[int], share: float) -> None:
    data = with_ties(*rows)
    same, held = ties(data.train), data.clients
    left = [[row for row in held.train(client).tolist() if not same[row]] for client in WHO]
    if min(map(len, left)) < (2 if share else 1):
        with pytest.raises(SynopticError, match="has no pair to"):
            pairs(data, share)
        return
    own = pairs(data, share)
    for place in WHO:
        assert sorted([*own.positions[place], *own.held[place]]) == left[place]
        assert len(own.positions[place]) > 0
        assert (len(own.held[place]) > 0) == (share > 0)
    assert own.examples.tolist() == [len(some) for some in own.positions]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4])
def test_what_is_set_aside_is_the_same_in_every_round_and_nothing_is_lost(share: float) -> None:
    data = with_ties()
    first, later = (Training(cohort(data, round_), share) for round_ in (0, 7))
    for place in WHO:
        held, trained = first.held[place], first.positions[place]
        assert sorted([*held, *trained]) == data.clients.train(place).tolist()
        assert later.held[place].tolist() == held.tolist()
        assert (len(held) > 0) == (share > 0)


def test_validation_pairs_are_set_aside_already() -> None:
    own, data = pairs(with_ties(validation=True)), tastes()
    for client in WHO:
        assert own.positions[client].tolist() == data.clients.train(client).tolist()
        assert own.held[client].tolist() == data.clients.val(client).tolist()


def test_ties_are_counted_and_refused_or_dropped() -> None:
    first = tastes().clients.train(1)[:2].tolist()
    with pytest.raises(SynopticError, match=r"^2 of the pairs of client 1 have the same answer twice; leave them out"):
        pairs(with_ties(*first), tied="refuse")
    dropped = pairs(with_ties(*first), share=0)
    assert dropped.positions[1].tolist() == tastes().clients.train(1)[2:].tolist()


def test_who_has_no_pair_left_is_told_so() -> None:
    data = with_ties(*tastes().clients.train(2).tolist())
    with pytest.raises(SynopticError, match="client 2 has no pair to learn from; give it pairs about more pictures"):
        pairs(data)
    alone = with_ties(*tastes().clients.train(2)[1:].tolist())
    with pytest.raises(SynopticError, match="client 2 has no pair to calibrate on"):
        pairs(alone, 0.01)
    assert [len(some) for some in pairs(alone, 0).positions][2] == 1


def test_answers_without_rejected_ones_are_no_pairs() -> None:
    data = tastes()
    words = data.train.words
    assert words is not None
    bare = replace(data, train=replace(data.train, words=replace(words, rejected=None)))
    with pytest.raises(
        SynopticError, match=r"no pairs of answers to learn from: .* has no rejected ones; set data\.que"
    ):
        pairs(bare)
