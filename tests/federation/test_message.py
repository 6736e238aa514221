from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensordict import TensorDict

from rooms import same
from synoptic.core import SynopticError
from synoptic.federation.message import Each, Failure, Replies, collate, decode, encode, field_bytes, join

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
words = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="|"), min_size=1, max_size=8)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    rng = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    return (torch.randn(shape, generator=rng) * 3).to(draw(st.sampled_from(DTYPES)))


adapters = st.dictionaries(words, tensors(), max_size=3).map(lambda some: TensorDict(some, batch_size=[]))
scalars = st.one_of(st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), st.text(max_size=9))


@given(st.dictionaries(words, st.one_of(adapters, tensors(), scalars), max_size=4))
def test_encode_and_decode_are_a_round_trip(fields: dict[str, TensorDict | torch.Tensor | float]) -> None:
    back = decode(encode(fields))
    assert list(back) == list(fields)
    for name, field in fields.items():
        got = back[name]
        if isinstance(field, TensorDict):
            assert isinstance(got, TensorDict)
            assert same(field, got)
        elif isinstance(field, torch.Tensor):
            assert isinstance(got, torch.Tensor)
            assert got.dtype == field.dtype
            assert torch.equal(got, field)
        else:
            assert type(got) is type(field)
            assert got == field


WHOLE = encode(
    {"adapter": TensorDict({"a/B": torch.randn(3, 2)}, batch_size=[]), "examples": torch.tensor(4.0), "n": 1}
)


@given(st.integers(0, len(WHOLE) - 1))
def test_a_truncated_message_is_one_sentence(length: int) -> None:
    with pytest.raises(SynopticError, match=rf"(?s)^a message of {length} bytes is damaged .*; send it again\.$"):
        decode(WHOLE[:length])


@given(st.binary(max_size=200))
def test_noise_is_one_sentence(noise: bytes) -> None:
    with pytest.raises(SynopticError, match="is damaged"):
        decode(noise)


@given(st.integers(8, 250), st.integers(1, 255))
def test_a_flipped_byte_is_one_sentence_or_a_message(place: int, flip: int) -> None:
    broken = bytearray(WHOLE)
    broken[place % len(broken)] ^= flip
    try:
        decode(bytes(broken))
    except SynopticError as error:
        assert "damaged" in str(error)


def test_field_bytes() -> None:
    two = TensorDict({"a": torch.zeros(3), "b": torch.zeros(2, dtype=torch.bfloat16)}, batch_size=[])
    assert [field_bytes(field) for field in (two, torch.zeros(2, 2), 1, 2.5, True, "päd")] == [16, 16, 8, 8, 8, 4]


def reply(client: int, value: float, **extra: torch.Tensor) -> Replies:
    stack = TensorDict({"w": torch.full((1, 2), value)}, batch_size=[1])
    return Replies([client], {"adapter": stack, "examples": torch.tensor([value]), **extra}, [])


@given(st.permutations(list(range(5))), st.integers(1, 5))
def test_joining_does_not_depend_on_order_or_grouping(order: list[int], group: int) -> None:
    parts = [reply(client, client + 1.0) for client in order]
    grouped = [join(parts[i : i + group], "train", 0) for i in range(0, 5, group)]
    whole = join(grouped, "train", 0)
    assert whole.clients == [0, 1, 2, 3, 4]
    assert whole.examples.tolist() == [1, 2, 3, 4, 5]
    assert whole.adapter["w"].tolist() == [[v, v] for v in (1.0, 2.0, 3.0, 4.0, 5.0)]


def test_failures_are_joined_in_client_order() -> None:
    gone = [Replies([], {}, [Failure(client, 1, "train", "gone")]) for client in (4, 2)]
    whole = join([gone[0], reply(3, 1.0), gone[1]], "train", 1)
    assert [failure.client for failure in whole.failures] == [2, 4]
    assert str(whole.failures[0]) == "client 2, round 1, task 'train': gone"
    assert join(gone, "train", 1).clients == []


@pytest.mark.parametrize(
    "odd",
    [
        Replies([0], {"examples": torch.tensor([1.0])}, []),
        Replies([0], {"adapter": torch.zeros(1, 2), "examples": torch.tensor([1.0])}, []),
        Replies([0], {"adapter": TensorDict({"v": torch.zeros(1, 2)}, [1]), "examples": torch.tensor([1.0])}, []),
        Replies([0], {"adapter": TensorDict({"w": torch.zeros(1, 3)}, [1]), "examples": torch.tensor([1.0])}, []),
        Replies([0], {"adapter": TensorDict({"w": torch.zeros(1, 2)}, [1]), "examples": torch.ones(1, 2)}, []),
        reply(0, 1.0, more=torch.zeros(1)),
    ],
    ids=["missing", "kind", "names", "shape", "scalar", "extra"],
)
def test_whoever_answers_unlike_the_others_is_a_failure(odd: Replies) -> None:
    whole = join([odd, reply(1, 2.0), reply(2, 3.0)], "train", 7)
    assert whole.clients == [1, 2]
    assert whole.examples.tolist() == [2, 3]
    (failure,) = whole.failures
    assert (failure.client, failure.round, failure.task) == (0, 7, "train")
    assert "differs from the other clients'" in failure.reason


@pytest.mark.parametrize("lengths", [(2, 2, 2), (2, 3, 1)])
def test_tensors_of_a_clients_own_length_stay_apart(lengths: tuple[int, ...]) -> None:
    own = [torch.arange(float(n * 2)).view(n, 2) for n in lengths]
    whole = join([Replies([k], {"z": one.unsqueeze(0)}, []) for k, one in enumerate(own)], "embed", 0)
    assert all(torch.equal(got, one) for got, one in zip(whole.z, own, strict=True))
    listed = join([Replies([0, 1], {"z": own[:2]}, []), Replies([2], {"z": [own[2]]}, [])], "embed", 0)
    assert all(torch.equal(got, one) for got, one in zip(listed.z, own, strict=True))


def test_lora_of_different_ranks_is_padded() -> None:
    parts = [
        Replies(
            [k],
            {"adapter": TensorDict({"v/lora/x/A": torch.ones(1, rank, 3), "v/lora/x/B": torch.ones(1, 2, rank)}, [1])},
            [],
        )
        for k, rank in enumerate((1, 2))
    ]
    whole = join(parts, "train", 0)
    assert whole.adapter["v/lora/x/A"].sum((1, 2)).tolist() == [3, 6]
    assert whole.adapter["v/lora/x/B"].shape == (2, 2, 2)


def test_collate_puts_messages_side_by_side_as_the_task_did() -> None:
    whole = join([reply(0, 1.0), reply(1, 2.0)], "train", 0)
    again = collate([0, 1], [decode(encode(whole.of(place))) for place in range(2)])
    assert same(again.adapter, whole.adapter)
    assert torch.equal(again.examples, whole.examples)
    with pytest.raises(SynopticError, match="different fields"):
        collate([0, 1], [{"a": torch.zeros(1)}, {"b": torch.zeros(1)}])


def test_an_unknown_field_says_what_there_is() -> None:
    with pytest.raises(AttributeError, match="no field 'adaptor'; they have: adapter, examples"):
        reply(0, 1.0).adaptor  # noqa: B018


def test_each_gives_every_client_its_own() -> None:
    for values in (torch.arange(4.0), [0.0, 1.0, 2.0, 3.0], TensorDict({"a": torch.arange(4.0)}, [4])):
        each = Each(values)
        picked = each.pick([3, 1]).part(1, 1)[0]
        assert float(picked["a"] if isinstance(picked, TensorDict) else picked) == 1.0
