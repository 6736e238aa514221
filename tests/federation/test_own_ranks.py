"""Adapters of a rank of their own for each client: no padding travels, is counted or is kept."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from helpers import lora
from rooms import bench, digits
from synoptic.adapters.stack import adapter, names, stack_of
from synoptic.core import SynopticError
from synoptic.federation.cohort import Cohort, PersonalLeak
from synoptic.federation.message import Replies, collate, decode, encode, field_bytes, join, stacked_bytes
from synoptic.federation.personal import Personal, PersonalStore

SITE = "vision/lora/w"


def ragged() -> list[TensorDict]:
    return [adapter(lora("w", 6, 5, rank, seed=rank)) for rank in (1, 3, 2)]


def replies(clients: list[int], adapters: list[TensorDict]) -> Replies:
    return Replies(clients, {"adapter": adapters}, [])


def test_their_bytes_are_those_of_their_own_ranks() -> None:
    assert stacked_bytes(ragged()) == sum(4 * (rank * 11 + 1) for rank in (1, 3, 2)) < field_bytes(stack_of(ragged()))


def test_the_wire_keeps_them_apart_and_joining_pads_them() -> None:
    received = collate([0, 1, 2], [decode(encode({"adapter": one})) for one in ragged()])
    assert stacked_bytes(received.adapter) == stacked_bytes(ragged())
    for parts in ([received], [replies([0, 1], ragged()[:2]), replies([2], ragged()[2:])]):
        whole = join(parts, "train", 0).adapter
        assert isinstance(whole, TensorDict)
        expected = stack_of(ragged())
        assert all(torch.equal(whole[name], expected[name]) for name in names(expected))


def test_equal_ranks_are_a_stack_on_the_wire() -> None:
    one = ragged()[0]
    assert isinstance(collate([0, 1], [{"adapter": one}, {"adapter": one}]).adapter, TensorDict)


def test_another_layer_is_a_failure_and_another_rank_is_none() -> None:
    other = adapter(lora("w", 6, 4, 2))
    whole = join([replies([0, 1], ragged()[:2]), replies([2], [other])], "train", 3)
    assert whole.clients == [0, 1]
    assert [(failure.client, failure.round) for failure in whole.failures] == [(2, 3)]


def cohort(scope: tuple[str, ...] = ()) -> Cohort:
    return Cohort([0, 1, 2], bench(digits()), Personal(PersonalStore(), [0, 1, 2]), 0, scope)


def test_what_is_personal_is_refused_in_them_too() -> None:
    with pytest.raises(PersonalLeak, match=r"reply field 'adapter/vision/lora/w/A' of client 0 is personal"):
        cohort(("*/A",)).reply(adapter=ragged())
    here = cohort()
    here.personal["own"] = ragged()
    with pytest.raises(PersonalLeak, match=r"'own/vision/lora/w/A'|a view of personal state"):
        here.reply(adapter=[one.clone() for one in ragged()])
    assert stacked_bytes(cohort().reply(adapter=ragged()).adapter) == stacked_bytes(ragged())


def test_personal_state_keeps_the_own_rank_and_shows_a_padded_stack() -> None:
    store = PersonalStore()
    personal = Personal(store, [0, 1, 2])
    personal["own"] = ragged()
    personal.commit()
    kept = [store.load(client)["own"] for client in range(3)]
    assert [one[f"{SITE}/A"].shape[0] for one in kept if isinstance(one, TensorDict)] == [1, 3, 2]
    shown = Personal(store, [0, 2]).adapter("own", ragged()[0])
    assert shown[f"{SITE}/A"].shape == (2, 2, 5)
    with pytest.raises(SynopticError, match=r"personal 'own' has 2 rows for 3 clients"):
        personal["own"] = ragged()[:2]


def test_every_client_has_a_first_value_of_its_own() -> None:
    store = PersonalStore()
    known = Personal(store, [1])
    known["own"] = stack_of(ragged()[1:2])
    known.commit()
    first = stack_of([adapter(lora("w", 6, 5, 3, seed=10 + client)) for client in range(3)])
    shown = Personal(store, [0, 1, 2]).adapter("own", first)
    for client, expected in enumerate([first[0], ragged()[1], first[2]]):
        assert torch.equal(shown[f"{SITE}/A"][client], expected[f"{SITE}/A"])
    assert Personal(PersonalStore(), [0, 1, 2]).adapter("own", first) is first
