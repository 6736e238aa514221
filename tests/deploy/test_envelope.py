from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import clients as adapters
from rooms import same
from synoptic.core import SynopticError
from synoptic.deploy.envelope import (
    Answer,
    Ask,
    pack_answer,
    pack_ask,
    pack_refusal,
    read_answer,
    read_ask,
    replies_of,
)
from synoptic.federation.message import Each, Failure, Replies, encode

HEAD = Ask(ask="a", session="s", task="train", round=3, turn=1, clients=(4, 2))


def reply(stack: int = 2) -> Replies:
    fields = {
        "adapter": adapters(stack, ("q", 4, 3)),
        "loss": torch.arange(float(stack)),
        "label": [torch.ones(k) for k in range(stack)],
    }
    return Replies([4, 2][:stack], fields, [Failure(7, 3, "train", "the disk is full")], {"steps": 5.0})


def test_a_question_arrives_as_it_was_sent_with_everybody_s_own() -> None:
    stack = adapters(5, ("q", 4, 3))
    payload = {
        "adapter": stack[0], "q": 0.5, "splits": "local", "own": Each(stack), "scores": Each(torch.arange(5)),
        "word": Each(list("abcde")), "ranks": Each([stack[k] for k in range(5)]),
    }  # fmt: skip
    letter = read_ask(pack_ask(HEAD, payload, places=[4, 1]))
    assert (letter.head.task, letter.head.round, letter.head.turn, letter.head.clients) == ("train", 3, 1, (4, 2))
    got = letter.payload
    assert same(got["adapter"], stack[0]) and (got["q"], got["splits"]) == (0.5, "local")
    assert same(got["own"].values, stack[torch.tensor([4, 1])])
    assert got["scores"].values.tolist() == [4, 1] and got["word"].values == ["e", "b"]
    assert isinstance(got["ranks"].values, list) and same(got["ranks"].values[0], stack[4])


def test_one_adapter_under_two_names_travels() -> None:
    one = adapters(1, ("q", 4, 3))[0]
    got = read_ask(pack_ask(HEAD, {"adapter": one, "anchor": one}, places=())).payload
    assert same(got["adapter"], one) and same(got["anchor"], one)


def test_replies_and_failures_arrive_client_by_client() -> None:
    sent = reply()
    head, fields = read_answer(pack_answer("a", sent), "a")
    four, two, seven, silent, work = replies_of(head, fields, [4, 2, 7, 9], 3, "train")
    assert (four.clients, two.clients) == ([4], [2])
    assert same(two.adapter[0], sent.adapter[1]) and two.loss.tolist() == [1.0] and two.label[0].tolist() == [1.0]
    assert str(seven.failures[0]) == "client 7, round 3, task 'train': the disk is full"
    assert silent.failures[0].reason == "the node's reply leaves this client out"
    assert work.work == {"steps": 5.0} and not work.clients


def test_a_refusal_is_everybody_s_reason_and_is_cut_when_it_rambles() -> None:
    head, fields = read_answer(pack_refusal("a", "no" * 1000), "a")
    (part,) = replies_of(head, fields, [4], 0, "train")
    assert part.failures[0].reason == "no" * 250 and part.work == {}


def test_another_question_s_reply_is_refused() -> None:
    with pytest.raises(SynopticError, match="answers another question"):
        read_answer(pack_answer("old", reply()), "new")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_is_one_sentence(data: st.DataObject) -> None:
    content = bytearray(pack_answer("a", reply()))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
            content[place] ^= data.draw(st.integers(1, 255))
    try:
        head, fields = read_answer(bytes(content), "a")
    except SynopticError as error:
        assert str(error).endswith(".")
    else:
        # Flipped bits inside numbers are numbers: the checks of values see them, later.
        assert [
            part.clients + [f.client for f in part.failures] for part in replies_of(head, fields, [4, 2], 3, "train")
        ][:2] == [[4], [2]]


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"head": "{}"}, "damaged"),
        ({"head": '{"protocol": 99}'}, "speaks protocol 99"),
        ({"head": '{"protocol": 1, "ask": 3}'}, "head of a letter"),
        ({"head": Answer(ask="a").model_dump_json(), "0.x": torch.zeros(2, dtype=torch.complex64)}, "complex64"),
        ({"no": 1}, "damaged"),
    ],
)
def test_odd_heads_and_types_are_refused(fields: dict[str, object], what: str) -> None:
    with pytest.raises(SynopticError, match=what):
        read_answer(encode(fields), "a")


def test_made_up_work_is_not_counted() -> None:
    head = Answer(ask="a", clients=(0,), work={"steps": float("nan"), "examples": -3.0, "bitcoin": 1.0})
    *_, work = replies_of(head, {"0.loss": torch.tensor(1.0)}, [0], 0, "train")
    assert work.work == {}
