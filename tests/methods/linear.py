"""Linear students, ``y = B A x``: six ways in which clients can differ, and who should share what in each.

Clients have fewer examples than inputs, so whoever learns alone cannot know enough.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from tensordict import TensorDict
from torch import Tensor

from synoptic.core.seeds import generator
from synoptic.methods.probing import middle, summaries
from synoptic.methods.sharing import Bounds, Decision, decide, evidence

CLIENTS, WIDTH, RANK, EXAMPLES, NOISE, STEPS, LR = 10, 32, 4, 24, 0.05, 10, 0.02
STEM = "vision/lora/x"
REGIMES = ("iid", "common outputs", "common inputs", "common and personal", "two clusters", "unrelated")


@dataclass(frozen=True)
class Students:
    """Training and test data ``[K, n, WIDTH]``."""

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor

    def error(self, stack: TensorDict) -> Tensor:
        """Squared error on test data, relative to that of saying nothing ``[K]``."""
        wrong = outputs(stack, self.test_x) - self.test_y
        return wrong.square().sum((1, 2)) / self.test_y.square().sum((1, 2))


def students(regime: str, seed: int, clients: int = CLIENTS) -> Students:
    rng = generator(seed, "tests", "students", regime)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng)

    def B() -> Tensor:
        return draw(WIDTH, RANK) / RANK**0.5

    def A() -> Tensor:
        return draw(RANK, WIDTH) / WIDTH**0.5

    one, other, outer, inner = B() @ A(), B() @ A(), B(), A()
    truth: dict[str, Callable[[int], Tensor]] = {
        "iid": lambda k: one,
        "common outputs": lambda k: outer @ A(),
        "common inputs": lambda k: B() @ inner,
        "common and personal": lambda k: 0.7 * one + 0.3 * B() @ A(),
        "two clusters": lambda k: (one, other)[k % 2],
        "unrelated": lambda k: B() @ A(),
    }
    W = torch.stack([truth[regime](k) for k in range(clients)])
    x, test_x = draw(clients, EXAMPLES, WIDTH), draw(clients, 200, WIDTH)
    return Students(x, x @ W.mT + NOISE * draw(clients, EXAMPLES, WIDTH), test_x, test_x @ W.mT)


def outputs(stack: TensorDict, x: Tensor) -> Tensor:
    return x @ stack[f"{STEM}/A"].mT @ stack[f"{STEM}/B"].mT


def start(seed: int, clients: int = CLIENTS) -> TensorDict:
    """Everybody's first adapter ``[K]``; its update is zero."""
    A = (torch.rand(RANK, WIDTH, generator=generator(seed, "tests", "A")) * 2 - 1) / WIDTH**0.5
    tensors = {f"{STEM}/A": A.expand(clients, -1, -1), f"{STEM}/B": torch.zeros(clients, WIDTH, RANK),
               f"{STEM}/scale": torch.ones(clients)}  # fmt: skip
    return TensorDict(tensors, [clients])


def train(stack: TensorDict, x: Tensor, y: Tensor, steps: int = STEPS) -> TensorDict:
    """Adam on each client's squared error."""
    A, B = (stack[f"{STEM}/{part}"].clone().requires_grad_() for part in "AB")
    move = torch.optim.Adam([A, B], LR)
    for _ in range(steps):
        move.zero_grad()
        (x @ A.mT @ B.mT - y).square().sum(-1).mean(1).sum().backward()
        move.step()
    return TensorDict({f"{STEM}/A": A.detach(), f"{STEM}/B": B.detach(), f"{STEM}/scale": stack[f"{STEM}/scale"]},
                      stack.batch_size)  # fmt: skip


def averaged(stack: TensorDict, parts: str) -> TensorDict:
    means = {name: tensor.mean(0).expand_as(tensor) if str(name)[-1] in parts else tensor
             for name, tensor in stack.items()}  # fmt: skip
    return TensorDict(means, stack.batch_size)


def fixed(regime: str, seed: int, parts: str, rounds: int = 60) -> float:
    """Mean error of a rule that shares ``parts`` ("", "A", "B", "AB") from the first round to the last."""
    data, stack = students(regime, seed), start(seed)
    for _ in range(rounds):
        stack = averaged(train(stack, data.x, data.y), parts)
    return float(data.error(stack).mean())


def probed(data: Students, seed: int, rounds: int = 3) -> tuple[Decision, TensorDict]:
    """What `adaptive` decides after some rounds on halves, and the mean of both halves' adapters."""
    first, half = start(seed, len(data.x)), EXAMPLES // 2
    parts = [train(first, data.x[:, s], data.y[:, s], STEPS * rounds) for s in (slice(half), slice(half, None))]
    told = torch.stack([summaries(part, first[0], WIDTH, seed) for part in parts], dim=1)
    bounds = Bounds(both=0.5, side=0.7)
    return decide(evidence(told, [(WIDTH, WIDTH)]), bounds), middle(parts[0], parts[1])


def adaptive(regime: str, seed: int, probe: int = 3, rounds: int = 60) -> float:
    """Mean error of the adaptive rule: decided after ``probe`` rounds, then kept."""
    data = students(regime, seed)
    decision, stack = probed(data, seed, probe)
    alone = [client for client in range(CLIENTS) if decision.member(CLIENTS)[client] < 0]
    shares = ["".join(part for part, on in zip("AB", share[0], strict=True) if on) for share in decision.shares]
    error = torch.zeros(CLIENTS)
    for group, parts in [*zip(decision.groups, shares, strict=True), *([(alone, "")] if alone else [])]:
        members = averaged(stack[torch.tensor(group)], parts)
        own = Students(*(each[group] for each in (data.x, data.y, data.test_x, data.test_y)))
        for _ in range(rounds - probe):
            members = averaged(train(members, own.x, own.y), parts)
        error[group] = own.error(members)
    return float(error.mean())
