from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensordict import TensorDict

from rooms import bench, digits, same, serve
from synoptic.adapters.stack import expand
from synoptic.federation import validate
from synoptic.federation.cohort import Cohort, task
from synoptic.federation.message import Each, Replies
from synoptic.federation.validate import Sent, validated
from synoptic.methods.fedavg import FedAvg

BAD = 2
"""The client that misbehaves."""


def sent() -> TensorDict:
    return TensorDict({"a": torch.zeros(2, 3), "b": torch.zeros(4)}, [])


class Toy:
    """Clients add their number; one of them spoils its reply."""

    def __init__(self, spoil: Callable[[dict[str, Any]], None] | None = None) -> None:
        self.spoil = spoil

    @task
    def train(self, cohort: Cohort, adapter: TensorDict) -> Replies:
        own = torch.tensor([float(client) for client in cohort.clients])
        start = leaves_of(adapter, len(cohort))
        fields: dict[str, Any] = {
            "adapter": TensorDict(
                {"a": start["a"] + own[:, None, None], "b": start["b"] - own[:, None]}, [len(cohort)]
            ),
            "examples": own + 1,
            "extra": own[:, None] * torch.ones(3),
        }
        if self.spoil is not None and BAD in cohort.clients:
            row = cohort.clients.index(BAD)
            fields["row"] = row
            self.spoil(fields)
            del fields["row"]
        return cohort.reply(**fields)


def leaves_of(adapter: TensorDict, clients: int) -> TensorDict:
    return adapter if adapter.batch_dims else expand(adapter, clients)


def put(field: str, key: str | None, value: float) -> Callable[[dict[str, Any]], None]:
    def spoil(fields: dict[str, Any]) -> None:
        tensor = (fields[field][key] if key else fields[field]).clone()
        tensor[fields["row"]].flatten()[:1].fill_(value) if tensor.ndim > 1 else tensor.__setitem__(
            fields["row"], value
        )
        if key:
            fields[field] = fields[field].clone().update({key: tensor})
        else:
            fields[field] = tensor

    return spoil


def adapter_of(make: Callable[[TensorDict], dict[str, torch.Tensor]]) -> Callable[[dict[str, Any]], None]:
    def spoil(fields: dict[str, Any]) -> None:
        fields["adapter"] = TensorDict(make(fields["adapter"]), [1])

    return spoil


VALUES = {
    "NaN": (put("adapter", "a", float("nan")), r"'adapter/a' holds 1 values that are not finite"),
    "inf": (put("adapter", "b", float("inf")), r"'adapter/b' holds 1 values that are not finite"),
    "-inf beside": (put("extra", None, float("-inf")), r"'extra' holds 1 values that are not finite"),
    "absurd": (put("adapter", "a", 1e9), r"'adapter' is 1e\+09 away from what was sent; the bound is 1e\+06"),
    "no example": (put("examples", None, 0.0), "trained on no example"),
    "negative": (put("examples", None, -3.0), "trained on no example"),
    "NaN examples": (put("examples", None, float("nan")), "trained on no example"),
}
SHAPES = {
    "other names": (adapter_of(lambda s: {"a": s["a"], "c": s["b"]}), r"other tensors than were sent \(b, c\)"),
    "missing": (adapter_of(lambda s: {"a": s["a"]}), r"other tensors than were sent \(b\)"),
    "more": (adapter_of(lambda s: {"a": s["a"], "b": s["b"], "c": s["b"]}), r"other tensors than were sent \(c\)"),
    "shape": (adapter_of(lambda s: {"a": s["a"].mT, "b": s["b"]}), r"\[3, 2\], but torch.float32 \[2, 3\] was sent"),
    "dtype": (
        adapter_of(lambda s: {"a": s["a"], "b": s["b"].double()}),
        r"torch.float64 \[4\], but torch.float32 \[4\]",
    ),
    "a tensor": (lambda f: f.update(adapter=f["adapter"]["a"]), "not the kind of thing that was sent"),
    "examples": (lambda f: f.update(examples=torch.ones(1, 2)), "'examples' is not one number"),
    "no field": (lambda f: f.pop("extra"), "differs from the other clients' in 'extra'"),
}


def check(spoil: Callable[[dict[str, Any]], None], reason: str, stack: int, **payload: Any) -> None:
    on = bench(digits())
    server = serve(Toy(spoil), on, stack=stack)
    replies = server.ask("train", **payload)
    (failure,) = server.failures
    assert (failure.client, failure.round, failure.task) == (BAD, 0, "train")
    assert re.search(reason, failure.reason), failure.reason
    others = [client for client in range(4) if client != BAD]
    without = serve(Toy(), on, stack=stack).ask("train", to=others, adapter=sent())
    assert replies.clients == others
    assert same(replies.adapter, without.adapter)
    assert torch.equal(replies.examples, without.examples)


@pytest.mark.parametrize("case", VALUES)
@pytest.mark.parametrize("stack", [1, 3, 99])
def test_a_bad_value_is_left_out_with_a_reason_and_the_others_go_on(case: str, stack: int) -> None:
    spoil, reason = VALUES[case]
    check(spoil, reason, stack, adapter=sent())


@pytest.mark.parametrize("case", SHAPES)
def test_a_reply_of_another_form_is_left_out_with_a_reason_and_the_others_go_on(case: str) -> None:
    spoil, reason = SHAPES[case]
    check(spoil, reason, 1, adapter=sent())


@pytest.mark.parametrize("case", ["NaN", "absurd", "shape", "dtype"])
def test_the_same_when_each_client_was_sent_its_own(case: str) -> None:
    spoil, reason = (VALUES | SHAPES)[case]
    check(spoil, reason, 1, adapter=Each(expand(sent(), 4)))


def test_each_is_compared_with_what_this_client_was_sent() -> None:
    """The distance is measured from the client's own start, also when clients before it failed."""

    class Echo:
        @task
        def train(self, cohort: Cohort, adapter: TensorDict) -> Replies:
            if 0 in cohort.clients:
                raise ValueError("gone")
            return cohort.reply(adapter=adapter.clone(), examples=cohort.examples)

    far = torch.tensor([0.0, 100.0, 200.0, 300.0])
    own = TensorDict({"a": far[:, None] + torch.arange(2.0)}, [4])
    server = serve(Echo(), bench(digits()), max_update_norm=1.0)
    replies = server.ask("train", adapter=Each(own))
    assert replies.clients == [1, 2, 3]
    backwards = serve(Echo(), bench(digits()), max_update_norm=1.0)
    again = backwards.ask("train", to=[3, 1, 2], adapter=Each(own[torch.tensor([3, 1, 2])]))
    assert again.adapter["a"][:, 0].tolist() == [100.0, 200.0, 300.0]


def test_a_bound_of_the_users_own_is_used() -> None:
    server = serve(Toy(), bench(digits()), stack=2, max_update_norm=4.0)
    assert server.ask("train", adapter=sent()).clients == [0, 1]
    assert [failure.client for failure in server.failures] == [2, 3]
    assert "the bound is 4" in server.failures[0].reason


def test_a_round_of_fedavg_without_the_bad_client_is_the_same_bit_for_bit() -> None:
    class Spoilt(FedAvg):
        @task
        def train(self, cohort: Cohort, adapter: TensorDict) -> Replies:
            replies = super().train(cohort, adapter)
            if cohort.clients == [BAD]:
                next(iter(replies.adapter.values())).fill_(float("nan"))
            return replies

    class Without(FedAvg):
        def round(self, server: Any, t: int) -> None:
            replies = server.ask("train", to=[0, 1, 3], adapter=server.state.adapter)
            from synoptic.adapters.algebra import mean

            server.state.adapter = mean(replies.adapter, replies.examples)

    results = []
    for method in (Spoilt(), Without()):
        server = serve(method, bench(digits()), stack=1)
        method.begin(server)
        method.round(server, 0)
        results.append(server.state.hash())
    assert results[0] == results[1]


@given(
    flaw=st.sampled_from(["none", "nan", "far", "shape", "dtype", "names", "examples", "loss"]),
    place=st.integers(0, 2),
    max_norm=st.sampled_from([None, 5.0]),
)
def test_looking_at_the_whole_stack_tells_what_looking_at_each_client_tells(
    flaw: str, place: int, max_norm: float | None
) -> None:
    start = TensorDict({"a/A": torch.zeros(2, 3), "a/B": torch.zeros(4)}, batch_size=[])
    stack = {"a/A": torch.ones(3, 2, 3), "a/B": torch.full((3, 4), 0.5)}
    examples, loss = torch.tensor([1.0, 2.0, 3.0]), torch.ones(3)
    if flaw == "nan":
        stack["a/A"][place, 0, 0] = float("nan")
    elif flaw == "far":
        stack["a/B"][place] = 10.0
    elif flaw == "shape":
        stack["a/B"] = torch.ones(3, 5)
    elif flaw == "dtype":
        stack["a/B"] = stack["a/B"].double()
    elif flaw == "names":
        stack["b"] = stack.pop("a/B")
    elif flaw == "examples":
        examples[place] = 0
    elif flaw == "loss":
        loss[place] = float("inf")
    fields = {"adapter": TensorDict(stack, batch_size=[3]), "examples": examples, "loss": loss}
    replies, sent = Replies([4, 7, 9], fields, []), Sent([4, 7, 9], {"adapter": start})
    fast = validated(replies, sent, "train", 0, max_norm)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validate, "_flawless", lambda *_: False)
        slow = validated(replies, sent, "train", 0, max_norm)
    assert (fast.clients, fast.failures) == (slow.clients, slow.failures)
    assert bool(fast.failures) == (flaw != "none" and (flaw != "far" or max_norm is not None))
