"""Every rule of the family against an ordinary program of its equations: two rounds, dense weights, client by client.

A twin is a handful of lines and shares nothing with the table of rules: factors as dictionaries of all A and all B.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from rooms import bench, digits, play, reference, serve
from synoptic.adapters.algebra import dense, lora_stems
from synoptic.adapters.stack import leaves
from synoptic.core.seeds import stream_seed
from synoptic.federation.bench import Bench
from synoptic.federation.personal import PersonalStore
from synoptic.learning.batches import plan
from synoptic.methods.fedvlm import FedVLM
from synoptic.methods.fedvlm_rules import RULES, part

SGD: dict[str, Any] = {"optimizer": "sgd", "lr": 0.05, "momentum": 0.5, "batch_size": 12}
ADAPTER = {"vision": {"lora": {"rank": 2, "layers": 1, "alpha": 4}}}
CLIENTS, ROUNDS, SCALE = 4, 2, 2.0

Factors = dict[str, Tensor]
"""``<stem>/A`` or ``<stem>/B`` of all sites."""


def factors(one: TensorDict | Mapping[str, Tensor], letter: str) -> Factors:
    tensors = leaves(one) if isinstance(one, TensorDict) else one
    return {name: tensor.clone() for name, tensor in tensors.items() if name.endswith(f"/{letter}")}


class Twin:
    """What all twins need: who holds what, the first values, local training."""

    def __init__(self, on: Bench) -> None:
        self.on = on
        self.n = torch.tensor([float(len(on.data.clients.train(k))) for k in range(CLIENTS)])
        self.A, self.B = (factors(on.new_adapter(), letter) for letter in "AB")
        self.stems = lora_stems(on.new_adapter())

    def train(self, k: int, t: int, A: Factors, B: Factors, moves: str = "AB", W: Factors | None = None) -> Any:
        """``A_k, B_k``: the factors after client k's round t, with ``W`` added to the base."""
        moved = {name: tensor.clone() for name, tensor in {**A, **B}.items()}
        grown = [tensor.requires_grad_() for name, tensor in moved.items() if name[-1] in moves]
        step = torch.optim.SGD(grown, self.on.train.lr, momentum=self.on.train.momentum)
        for batch in plan(self.on.data.clients.train(k), self.on.train, self.on.seed, t, k):
            step.zero_grad()
            reference(self.on.data).loss(self.worn(moved, W), batch).backward()
            step.step()
        moved = {name: tensor.detach() for name, tensor in moved.items()}
        return factors(moved, "A"), factors(moved, "B")

    def worn(self, moved: Factors, W: Factors | None) -> dict[str, Tensor]:
        """A dense update beside a pair is a pair of rank r + D: ``B A + W = [B, W] [A; 1]``."""
        tensors = {f"{stem}/scale": torch.tensor(SCALE) for stem in self.stems} | moved
        for stem, update in (W or {}).items():
            tensors[f"{stem}/A"] = torch.cat([moved[f"{stem}/A"], torch.eye(update.shape[1])])
            tensors[f"{stem}/B"] = torch.cat([moved[f"{stem}/B"], update / SCALE], dim=1)
        return tensors

    def mean(self, each: list[Factors]) -> Factors:
        """``sum_k p_k F_k``."""
        p = self.n / self.n.sum()
        return {name: sum(p[k] * each[k][name] for k in range(CLIENTS)) for name in each[0]}  # type: ignore[misc]

    def product(self, A: Factors, B: Factors) -> Factors:
        """``s B A``."""
        return {stem: SCALE * B[f"{stem}/B"] @ A[f"{stem}/A"] for stem in self.stems}


State = dict[str, Any]
"""``shared``: factors; ``own``: for each client; ``merged``: dense updates."""


def local(twin: Twin) -> State:
    own = [(twin.A, twin.B)] * CLIENTS
    for t in range(ROUNDS):
        own = [twin.train(k, t, *own[k]) for k in range(CLIENTS)]
    return {"own": [A | B for A, B in own]}


def fedavg(twin: Twin) -> State:
    A, B = twin.A, twin.B
    for t in range(ROUNDS):
        each = [twin.train(k, t, A, B) for k in range(CLIENTS)]
        A, B = (twin.mean([pair[i] for pair in each]) for i in range(2))
    return {"shared": A | B}


def ffa(twin: Twin) -> State:
    B = twin.B
    for t in range(ROUNDS):
        B = twin.mean([twin.train(k, t, twin.A, B, "B")[1] for k in range(CLIENTS)])
    return {"shared": B}


def rolora(twin: Twin) -> State:
    A, B = twin.A, twin.B
    for t in range(ROUNDS):
        each = [twin.train(k, t, A, B, "A" if t % 2 else "B") for k in range(CLIENTS)]
        A, B = (twin.mean([pair[i] for pair in each]) for i in range(2))
    return {"shared": A | B}


def fedsa(twin: Twin) -> State:
    A, own = twin.A, [twin.B] * CLIENTS
    for t in range(ROUNDS):
        each = [twin.train(k, t, A, own[k]) for k in range(CLIENTS)]
        A, own = twin.mean([pair[0] for pair in each]), [pair[1] for pair in each]
    return {"shared": A, "own": own}


def plora(twin: Twin) -> State:
    B, own = twin.B, [twin.A] * CLIENTS
    for t in range(ROUNDS):
        each = [twin.train(k, t, own[k], B) for k in range(CLIENTS)]
        own, B = [pair[0] for pair in each], twin.mean([pair[1] for pair in each])
    return {"shared": B, "own": own}


def fedex(twin: Twin) -> State:
    A, B, W = twin.A, twin.B, {stem: torch.zeros(128, 128) for stem in twin.stems}
    for t in range(ROUNDS):
        each = [twin.train(k, t, A, B, W=W) for k in range(CLIENTS)]
        A, B = (twin.mean([pair[i] for pair in each]) for i in range(2))
        exact, ours = twin.mean([twin.product(*pair) for pair in each]), twin.product(A, B)
        W = {stem: W[stem] + exact[stem] - ours[stem] for stem in twin.stems}
    return {"shared": A | B, "merged": W}


def flora(twin: Twin) -> State:
    W = {stem: torch.zeros(128, 128) for stem in twin.stems}
    for t in range(ROUNDS):
        fresh = twin.on.model.new_adapter(twin.on.adapter, stream_seed(twin.on.seed, "adapter of a round", t))
        each = [twin.train(k, t, factors(fresh, "A"), twin.B, W=W) for k in range(CLIENTS)]
        more = twin.mean([twin.product(*pair) for pair in each])
        W = {stem: W[stem] + more[stem] for stem in twin.stems}
    return {"merged": W}


def flexlora(twin: Twin) -> State:
    A, B = twin.A, twin.B
    for t in range(ROUNDS):
        exact = twin.mean([twin.product(*twin.train(k, t, A, B)) for k in range(CLIENTS)])
        for stem, update in exact.items():
            U, S, Vh = torch.linalg.svd(update.double() / SCALE)
            sign = torch.sign(U.gather(0, U.abs().argmax(0, keepdim=True)))[0, :2]
            B[f"{stem}/B"] = (U[:, :2] * sign * S[:2].sqrt()).float()
            A[f"{stem}/A"] = ((S[:2].sqrt() * sign)[:, None] * Vh[:2]).float()
    return {"shared": A | B}


TWINS: dict[str, Callable[[Twin], State]] = {
    "local": local, "fedavg": fedavg, "ffa": ffa, "rolora": rolora, "fedsa": fedsa, "plora": plora, "fedex": fedex,
    "flora": flora, "flexlora": flexlora,
}  # fmt: skip


def apart(ours: Mapping[str, Tensor], twin: Mapping[str, Tensor]) -> float:
    assert sorted(ours) == sorted(twin)
    return max(float((ours[name] - twin[name]).abs().max()) for name in twin)


@pytest.mark.parametrize("rule", TWINS)
def test_two_rounds_are_the_equations(rule: str) -> None:
    on, store = bench(digits(), ADAPTER, **SGD), PersonalStore()
    method = FedVLM(FedVLM.Settings(rule=rule))
    server = play(method, serve(method, on, store=store), ROUNDS)
    twin = Twin(on)
    plain = TWINS[rule](twin)
    assert set(server.state) == plain.keys() - {"own"}
    if "shared" in plain:
        first = leaves(part(on.new_adapter(), RULES[rule].sends))
        assert apart(plain["shared"], first) > 1e-3, "it must have moved"
        assert apart(leaves(server.state.shared), plain["shared"]) < 2e-5
    for k, own in enumerate(plain.get("own", [])):
        kept = store.load(k)["own"]
        assert isinstance(kept, TensorDict)
        assert apart(leaves(kept), own) < 2e-5
    if "merged" in plain:
        ours = {stem: dense(server.state.merged, stem) for stem in twin.stems}
        assert max(float(update.abs().max()) for update in plain["merged"].values()) > 1e-4
        assert apart(ours, plain["merged"]) < 2e-6


def test_every_rule_has_a_twin() -> None:
    assert list(TWINS) == list(RULES)
