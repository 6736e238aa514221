"""Nothing from outside is trusted: replies are checked client by client, and a bad one is left out with a reason.

Legend: K clients.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.stack import names
from synoptic.federation.message import Each, Failure, Field, Replies, Stacked

ABSURD = 1e6
"""Without a bound of the user's own, a reply this far (Frobenius) from what was sent is refused."""


def validated(
    replies: Replies, payload: Mapping[str, Field | Each], task: str, round_: int, max_norm: float | None
) -> Replies:
    """The replies that can be trusted, and the others as failures.

    A field that was sent under the same name must come back with the same tensors, shapes and types, and within
    ``max_norm`` of what was sent. Every field must be finite. ``examples`` must be positive.
    """
    good, failures = [], []
    for place, client in enumerate(replies.clients):
        reasons = (_wrong(name, field, place, payload.get(name), max_norm or ABSURD)
                   for name, field in replies.fields.items())  # fmt: skip
        reason = next((why for why in reasons if why), None)
        if reason is None:
            good.append(place)
        else:
            failures.append(Failure(client, round_, task, reason))
    return replies if not failures else replies.keep(good, failures)


def _wrong(name: str, field: Stacked, place: int, sent: Field | Each | None, max_norm: float) -> str | None:
    value = field[place]
    asked = sent[place] if isinstance(sent, Each) else sent
    if isinstance(value, TensorDict):
        reason = next((why for key in names(value) if (why := _not_finite(f"{name}/{key}", value[key]))), None)
        return reason or (_differs(name, value, asked, max_norm) if isinstance(asked, TensorDict) else None)
    reason = _not_finite(name, value)
    if reason is None and name == "examples" and float(value) <= 0:
        return "it says it trained on no example"
    return reason


def _not_finite(name: str, tensor: Tensor) -> str | None:
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        count = int((~torch.isfinite(tensor)).sum())
        return f"'{name}' holds {count} values that are not finite (NaN or infinity)"
    return None


def _differs(name: str, value: TensorDict, sent: TensorDict, max_norm: float) -> str | None:
    if names(value) != names(sent):
        odd = sorted(set(names(value)) ^ set(names(sent)))
        return f"'{name}' has other tensors than were sent ({', '.join(odd[:3])})"
    square = 0.0
    for key in names(value):
        if value[key].shape != sent[key].shape or value[key].dtype != sent[key].dtype:
            return (f"'{name}/{key}' is {value[key].dtype} {list(value[key].shape)}, "
                    f"but {sent[key].dtype} {list(sent[key].shape)} was sent")  # fmt: skip
        square += float((value[key].double() - sent[key].double()).square().sum())
    if square**0.5 > max_norm:
        return f"'{name}' is {square**0.5:.3g} away from what was sent; the bound is {max_norm:g}"
    return None
