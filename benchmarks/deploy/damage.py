"""What can be wrong with a reply: the bytes that come instead of an honest node's, and how the server calls it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from tensordict import TensorDict

from synoptic.adapters.stack import names
from synoptic.deploy.envelope import HEAD, pack_told
from synoptic.federation.message import decode, encode

Change = Callable[[bytes], bytes]


def edited(change: Callable[[dict[str, Any]], Any]) -> Change:
    """A reply taken apart, changed, and put together."""

    def edit(reply: bytes) -> bytes:
        fields: dict[str, Any] = dict(decode(reply))
        change(fields)
        return encode(fields)

    return edit


def first(adapter: TensorDict, value: Any) -> TensorDict:
    """The adapter with another first tensor."""
    tensors = {name: adapter[name] for name in names(adapter)}
    return TensorDict(tensors | {names(adapter)[0]: value}, batch_size=[])


def adapter_with(value: Any) -> Change:
    return edited(lambda fields: fields.update({"0.adapter": first(fields["0.adapter"], value)}))


def _nan(fields: dict[str, Any]) -> None:
    whole = fields["0.adapter"]
    fields["0.adapter"] = first(whole, torch.full_like(whole[names(whole)[0]], float("nan")))


BAD: dict[str, tuple[Change, str]] = {
    "nothing": (lambda reply: b"", "damaged"),
    "truncated": (lambda reply: reply[: len(reply) // 2], "damaged"),
    "longer": (lambda reply: reply + b"x" * 99, "damaged"),
    "noise": (lambda reply: random.Random(0).randbytes(5000), "damaged"),
    "pickle": (lambda reply: b"\x80\x04cos\nsystem\n(S'true'\ntR.", "damaged"),
    "NaN": (edited(_nan), "not finite"),
    "wrong shape": (adapter_with(torch.zeros(3, 3)), "was sent"),
    "wrong type": (adapter_with(torch.zeros(2, 64, dtype=torch.int64)), "was sent"),
    "complex": (adapter_with(torch.zeros(2, dtype=torch.complex64)), "complex64"),
    "absurd": (adapter_with(torch.full((2, 128), 1e9)), "was sent"),
    "no adapter": (edited(lambda fields: fields.pop("0.adapter")), "differs from the other"),
    "a word for an adapter": (edited(lambda fields: fields.update({"0.adapter": "hello"})), "cannot be read"),
    "an extra field": (edited(lambda fields: fields.update({"0.spy": torch.ones(3)})), "differs from the other"),
    "no examples": (edited(lambda fields: fields.update({"0.examples": torch.tensor(0.0)})), "no example"),
    "endless examples": (edited(lambda fields: fields.update({"0.examples": torch.tensor(torch.inf)})), "not finite"),
    "no head": (edited(lambda fields: fields.pop(HEAD)), "damaged"),
    "a reply of nothing": (lambda reply: pack_told("guess", {}), "answers another question"),
}  # fmt: skip
"""By kind: what is done to the reply, and a part of the reason that is given."""
