"""Nothing from outside is trusted: replies are checked client by client, and a bad one is left out with a reason.

Legend: K clients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.stack import leaves, names
from synoptic.federation.message import Each, Failure, Field, Replies, Stacked

ABSURD = 1e6
"""Without a bound of the user's own, a reply this far (Frobenius) from what was sent is refused."""


@dataclass(frozen=True)
class Sent:
    """What was asked of whom: ``clients`` in the order of every `Each` in ``payload``."""

    clients: Sequence[int]
    payload: Mapping[str, Field | Each]

    def to(self, client: int, name: str) -> Field | None:
        """What this client was sent under this name; None when nothing was."""
        value = self.payload.get(name)
        return value[self.clients.index(client)] if isinstance(value, Each) else value


def validated(replies: Replies, sent: Sent, task: str, round_: int, max_norm: float | None) -> Replies:
    """The replies that can be trusted, and the others as failures.

    A reply field that was sent under the same name must come back with the same tensors, shapes and types, and within
    ``max_norm`` of what was sent. Every field must be finite. ``examples`` must be one positive number.
    """
    bound = max_norm or ABSURD
    if all(_flawless(field, sent.payload.get(name), name, bound) for name, field in replies.fields.items()):
        return replies
    good, failures = [], []
    for place, client in enumerate(replies.clients):
        fields = replies.of(place).items()
        reason = next(
            (why for name, value in fields if (why := _wrong(name, value, sent.to(client, name), bound))), None
        )
        if reason is None:
            good.append(place)
        else:
            failures.append(Failure(client, round_, task, reason))
    return replies if not failures else replies.keep(good, failures)


def _flawless(field: Stacked, sent: Field | Each | None, name: str, max_norm: float) -> bool:
    """Whether nobody's reply can be wrong, told from the whole stack at once; False means look at each client."""
    if isinstance(field, list) or isinstance(sent, Each) or (name == "examples" and not _positive(field)):
        return False
    if isinstance(field, Tensor):
        return sent is None and bool(torch.isfinite(field).all())
    tensors = leaves(field)
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        return False
    return sent is None or (isinstance(sent, TensorDict) and _near(tensors, leaves(sent), max_norm))


def _positive(field: TensorDict | Tensor) -> bool:
    return isinstance(field, Tensor) and field.ndim == 1 and bool((field > 0).all())


def _near(tensors: Mapping[str, Tensor], sent: Mapping[str, Tensor], max_norm: float) -> bool:
    if tensors.keys() != sent.keys() or any(_off(key, tensor[0], sent[key]) for key, tensor in tensors.items()):
        return False
    apart = (tensor.double() - sent[key].double() for key, tensor in tensors.items())
    squares = [difference.square().reshape(len(difference), -1).sum(1) for difference in apart]
    return bool((torch.stack(squares).sum(0).sqrt() <= max_norm).all())


def _wrong(name: str, value: Field, sent: Field | None, max_norm: float) -> str | None:
    if isinstance(sent, TensorDict | Tensor) and isinstance(sent, TensorDict) != isinstance(value, TensorDict):
        return f"'{name}' is not the kind of thing that was sent"
    if isinstance(value, TensorDict):
        reason = next((why for key in names(value) if (why := _not_finite(f"{name}/{key}", value[key]))), None)
        return reason or (_differs(name, value, sent, max_norm) if isinstance(sent, TensorDict) else None)
    if not isinstance(value, Tensor):
        return None
    if name == "examples" and (value.numel() != 1 or not float(value) > 0):
        return "it says it trained on no example" if value.numel() == 1 else "'examples' is not one number"
    reason = _not_finite(name, value)
    return reason or (_off(name, value, sent) if isinstance(sent, Tensor) else None)


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
        if reason := _off(f"{name}/{key}", value[key], sent[key]):
            return reason
        square += float((value[key].double() - sent[key].double()).square().sum())
    if square**0.5 > max_norm:
        return f"'{name}' is {square**0.5:.3g} away from what was sent; the bound is {max_norm:g}"
    return None


def _off(name: str, value: Tensor, sent: Tensor) -> str | None:
    if value.shape == sent.shape and value.dtype == sent.dtype:
        return None
    return f"'{name}' is {value.dtype} {list(value.shape)}, but {sent.dtype} {list(sent.shape)} was sent"
