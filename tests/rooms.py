"""Small benches for the tests of learning, federation, methods and runs, and a plain reference of the model.

The reference is Hugging Face's CLIP with dense merged weights and one ordinary loop; it shares no code with Synoptic
beyond the names of an adapter's tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import leaves, names
from synoptic.data.federated import FederatedData, build
from synoptic.data.rows import Rows
from synoptic.data.spec import DataSpec
from synoptic.federation.bench import Bench, make_bench
from synoptic.federation.cohort import Cohort, task
from synoptic.federation.local import LocalFederation
from synoptic.federation.message import Replies
from synoptic.federation.personal import PersonalStore
from synoptic.federation.server import Server
from synoptic.federation.spec import FederationSpec
from synoptic.learning.spec import TrainSpec
from synoptic.methods.base import Method
from synoptic.models.cache import Budget
from synoptic.models.dual_encoder import DualEncoder
from synoptic.models.load import embedded, shared_dual_encoder

VISION = {"vision": {"lora": {"rank": 2, "layers": 1}}}
BOTH = {"vision": {"lora": {"rank": 2, "layers": 1, "alpha": 4}}, "text": {"lora": {"rank": 2, "layers": 1}}}
PROMPT = {"text": {"prompt": 3}}
HEAD = {"vision": "head"}


def model() -> DualEncoder:
    """The embedded base, loaded once in a process."""
    return shared_dual_encoder("tiny-clip")


@cache
def digits(clients: int = 4, train: int = 72, test: int = 40) -> FederatedData:
    """A few real digits, shared out unevenly."""
    return build(DataSpec(source="digits", clients=clients, train_limit=train, test_limit=test), 0)


@cache
def world(clients: int = 4, per_class: int = 12) -> FederatedData:
    """A small generated task with novel classes and domains."""
    return build(DataSpec(source="world", clients=clients, classes=6, per_class=per_class, test_per_class=8), 0)


def shared_out(data: FederatedData, sizes: Sequence[int]) -> FederatedData:
    """The same examples with client k holding the next ``sizes[k]`` of them."""
    owner = np.repeat(np.arange(len(sizes)), sizes)
    order = np.random.default_rng(0).permutation(len(data.train))[: len(owner)]
    tests = Rows.grouped(np.arange(len(data.test)) % len(sizes), len(sizes))
    train = Rows.grouped(owner, len(sizes), order)
    clients = replace(data.clients, train_rows=train, val_rows=Rows.empty(len(sizes)), test_rows=tests, names=None)
    return replace(data, clients=clients)


def pooled(data: FederatedData) -> FederatedData:
    """The same examples with one client who holds all."""
    return replace(data, clients=data.clients.pooled())


def bench(
    data: FederatedData, adapter: Mapping[str, Any] = VISION, cached: bool = True, rounds: int = 4, seed: int = 0,
    **train: Any,
) -> Bench:  # fmt: skip
    """A workbench; ``train`` are fields of `TrainSpec`."""
    spec = TrainSpec(**({"batch_size": 8} | train))
    budget = Budget(2**28) if cached else None
    return make_bench(model(), data, AdapterSpec.model_validate(adapter), spec, seed, rounds, budget)


def serve(
    method: Any, on: Bench, stack: int = 99, store: PersonalStore | None = None, deadline: float | None = None,
    wire: bool = False, **spec: Any,
) -> Server:  # fmt: skip
    """A server whose clients live in this process."""
    federation = LocalFederation(method, on, store or PersonalStore(), stack, deadline, wire)
    return Server(on, federation, FederationSpec(**spec))


def play(method: Any, server: Server, rounds: int) -> Server:
    """Begin, then so many rounds, and the end if these were all."""
    method.begin(server)
    for t in range(rounds):
        server.round = t
        method.round(server, t)
        if t + 1 == server.bench.rounds:
            method.end(server)
    return server


def final(method: Any, on: Bench, rounds: int = 2, **options: Any) -> TensorDict:
    """The shared adapter after some rounds."""
    adapter: TensorDict = play(method, serve(method, on, **options), rounds).state.adapter
    return adapter


def same(one: TensorDict, two: TensorDict) -> bool:
    """Bit for bit."""
    return names(one) == names(two) and all(torch.equal(one[name], two[name]) for name in names(one))


def furthest(one: TensorDict, two: TensorDict) -> float:
    """The largest difference of any value."""
    assert names(one) == names(two)
    return max(float((one[name] - two[name]).abs().max()) for name in names(one))


class Reference:
    """Plain PyTorch on Hugging Face's model: dense merged weights, one client at a time."""

    def __init__(self, data: FederatedData) -> None:
        from transformers import CLIPModel

        self.data = data
        self.clip = CLIPModel.from_pretrained(embedded()["tiny-clip"]).eval().requires_grad_(False)
        self.weights = dict(self.clip.named_parameters())
        prompts = [data.template.format(data.train.class_names[index]) for index in data.base_classes]
        self.ids = model().tokenizer(prompts, padding="longest", return_tensors="pt")["input_ids"]

    def logits(self, adapter: Mapping[str, Tensor], positions: np.ndarray) -> Tensor:
        """``[B, C]`` of training examples against base classes."""
        result: Tensor = self.outputs(adapter, positions).logits_per_image
        return result

    def names(self, adapter: Mapping[str, Tensor]) -> Tensor:
        """Normalised embeddings ``[C, E]`` of base classes."""
        result: Tensor = self.outputs(adapter, np.arange(1)).text_embeds
        return result

    def outputs(self, adapter: Mapping[str, Tensor], positions: np.ndarray) -> Any:
        """All that the model says about training examples and base classes."""
        weights: dict[str, Tensor] = {}
        ids = self.ids
        for name, A in adapter.items():
            if name.endswith("/A"):
                path = name[:-2].split("/lora/", 1)[1] + ".weight"
                weights[path] = self.weights[path] + adapter[name[:-1] + "scale"] * adapter[name[:-1] + "B"] @ A
        if "text/prompt/context" in adapter:
            # Context vectors are new words of the vocabulary, put after the start token.
            table = self.weights["text_model.embeddings.token_embedding.weight"]
            context = adapter["text/prompt/context"]
            weights["text_model.embeddings.token_embedding.weight"] = torch.cat([table, context])
            new = (len(table) + torch.arange(len(context))).expand(len(ids), -1)
            ids = torch.cat([ids[:, :1], new, ids[:, 1:]], dim=1)
        pixels = model().pixels(self.data.train.images.load(positions))
        return torch.func.functional_call(self.clip, weights, (), {"input_ids": ids, "pixel_values": pixels})

    def loss(self, adapter: Mapping[str, Tensor], positions: np.ndarray) -> Tensor:
        """Mean cross-entropy of training examples."""
        place = {int(label): index for index, label in enumerate(self.data.base_classes)}
        targets = torch.tensor([place[int(label)] for label in self.data.train.labels[positions]])
        return F.cross_entropy(self.logits(adapter, positions), targets)

    def train(
        self,
        start: TensorDict,
        batches: Sequence[np.ndarray],
        optimizer: Callable[[list[Tensor]], Any],
        mu: float = 0.0,
    ) -> dict[str, Tensor]:
        """An ordinary training loop, with FedProx's term when ``mu`` is not zero."""
        first = {name: tensor.clone() for name, tensor in leaves(start).items()}
        tensors = {name: tensor.clone() for name, tensor in first.items()}
        moved = {name: t.requires_grad_() for name, t in tensors.items() if not name.endswith("/scale")}
        step = optimizer(list(moved.values()))
        for batch in batches:
            near = sum(((tensor - first[name]) ** 2).sum() for name, tensor in moved.items())
            step.zero_grad()
            (self.loss(tensors, batch) + mu / 2 * near).backward()
            step.step()
        return {name: tensor.detach() for name, tensor in tensors.items()}


@cache
def reference(data: FederatedData) -> Reference:
    """One for each data set."""
    return Reference(data)


def broadcasts(kind: type[Method], monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, TensorDict]]:
    """What a method's clients are sent to train from now on: round, client, a copy of the adapter."""
    received: list[tuple[int, int, TensorDict]] = []
    original: Callable[..., Replies] = kind.train  # type: ignore[attr-defined]

    @task
    def recording(method: Method, cohort: Cohort, adapter: TensorDict) -> Replies:
        received.extend((cohort.round, client, adapter.clone()) for client in cohort.clients)
        return original(method, cohort, adapter)

    monkeypatch.setattr(kind, "train", recording)
    return received
