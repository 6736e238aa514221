"""SGD and AdamW on a flat stack ``[K, P]``: each row moves exactly as it would under ``torch.optim`` alone.

State rows belong to clients; a client that has finished is simply no longer passed in, so its momentum does not coast.
What an optimiser remembers can be taken out as named tensors, its *moments*, and given to another one that goes on.

Legend: K clients that still train, P values per client.
"""

from __future__ import annotations

from typing import Protocol

import torch
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.stack import leaves
from synoptic.core import SynopticError
from synoptic.learning.spec import TrainSpec


class Optimizer(Protocol):
    """Moves the first ``len(grad)`` rows of the buffer that it was made for."""

    def step(self, grad_KP: Tensor, lr: float) -> None: ...

    @property
    def moments(self) -> dict[str, Tensor]: ...


class SGD:
    """``torch.optim.SGD`` with momentum and L2 weight decay, row by row."""

    def __init__(self, flat_KP: Tensor, spec: TrainSpec, moments: dict[str, Tensor] | None = None) -> None:
        self._flat = flat_KP
        self._spec = spec
        self._momentum = (moments or {}).get("momentum")

    @property
    def moments(self) -> dict[str, Tensor]:
        """The momentum ``[K, P]``, if there is one."""
        return {} if self._momentum is None else {"momentum": self._momentum}

    @torch.no_grad()
    def step(self, grad_KP: Tensor, lr: float) -> None:
        """One step of the first rows with their gradients."""
        rows = self._flat[: len(grad_KP)]
        if self._spec.weight_decay:
            grad_KP = grad_KP.add(rows, alpha=self._spec.weight_decay)
        if self._spec.momentum:
            if self._momentum is None:
                self._momentum = grad_KP.clone()
            else:
                self._momentum = self._momentum[: len(grad_KP)].mul_(self._spec.momentum).add_(grad_KP)
            grad_KP = self._momentum
        rows.add_(grad_KP, alpha=-lr)


class AdamW:
    """``torch.optim.AdamW`` (Loshchilov & Hutter 2019, Algorithm 2), row by row."""

    def __init__(self, flat_KP: Tensor, spec: TrainSpec, moments: dict[str, Tensor] | None = None) -> None:
        moments = moments or {}
        self._flat = flat_KP
        self._spec = spec
        self._first = moments.get("first", torch.zeros_like(flat_KP))
        self._second = moments.get("second", torch.zeros_like(flat_KP))
        self._steps = int(moments.get("steps", 0))

    @property
    def moments(self) -> dict[str, Tensor]:
        """First and second moments ``[K, P]`` and the number of steps."""
        return {"first": self._first, "second": self._second, "steps": torch.tensor(self._steps)}

    @torch.no_grad()
    def step(self, grad_KP: Tensor, lr: float) -> None:
        """One step of the first rows with their gradients."""
        self._steps += 1
        beta1, beta2 = self._spec.betas
        clients = len(grad_KP)
        rows, first, second = self._flat[:clients], self._first[:clients], self._second[:clients]
        rows.mul_(1 - lr * self._spec.weight_decay)
        first.lerp_(grad_KP, 1 - beta1)
        second.mul_(beta2).addcmul_(grad_KP, grad_KP, value=1 - beta2)
        scale = second.sqrt().div_((1 - beta2**self._steps) ** 0.5).add_(self._spec.eps)
        rows.addcdiv_(first, scale, value=-lr / (1 - beta1**self._steps))


MOMENTS = {"sgd": {"momentum"}, "adamw": {"first", "second", "steps"}}
"""What each optimiser remembers."""


def optimizer(flat_KP: Tensor, spec: TrainSpec, moments: TensorDict | None = None) -> Optimizer:
    """The optimiser that ``spec`` names, on a buffer that it moves in place.

    Args:
        flat_KP: what it moves.
        spec: which optimiser, and its constants.
        moments: what `moments_of` an earlier one gave, left unchanged; without any it starts anew.

    Raises:
        SynopticError: moments of another optimiser or of another number of values.
    """
    kept = {} if moments is None else {name: tensor.clone() for name, tensor in leaves(moments).items()}
    if kept and kept.keys() != MOMENTS[spec.optimizer]:
        raise SynopticError(f"the kept moments ({', '.join(sorted(kept))}) are not those of {spec.optimizer}",
                            "go on with the optimiser that made them, or start with none")  # fmt: skip
    for name, tensor in kept.items():
        if tensor.ndim and tensor.shape != flat_KP.shape:
            raise SynopticError(f"the kept moment '{name}' has the shape {tuple(tensor.shape)} and what is trained "
                                f"{tuple(flat_KP.shape)}", "go on with the adapter that it was made for")  # fmt: skip
    return SGD(flat_KP, spec, kept) if spec.optimizer == "sgd" else AdamW(flat_KP, spec, kept)


def moments_of(move: Optimizer) -> TensorDict:
    """What an optimiser remembers, as named tensors (batch size ``[]``); fit for ``server.state``."""
    return TensorDict(move.moments, batch_size=[])


def no_moments() -> TensorDict:
    """Those of an optimiser that has not stepped yet, whichever it is."""
    return TensorDict({}, batch_size=[])


def clip(grad_KP: Tensor, bound: float | None) -> tuple[Tensor, Tensor]:
    """Gradients scaled to at most ``bound`` for each client on its own, and their norms ``[K]`` before that."""
    norm_K = torch.linalg.vector_norm(grad_KP, dim=1)
    if bound is None:
        return grad_KP, norm_K
    # The same small constant as torch.nn.utils.clip_grad_norm_.
    return grad_KP * (bound / (norm_K + 1e-6)).clamp(max=1.0)[:, None], norm_K
