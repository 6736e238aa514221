"""Nodes of a small run and a server that asks them for a round's training, with whatever is to happen between them."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.deploy.loopback import Loopback
from synoptic.data.federated import build
from synoptic.deploy.federation import FlowerFederation
from synoptic.deploy.node import Node
from synoptic.deploy.policy import Policy
from synoptic.deploy.post import Post
from synoptic.deploy.roster import Roster
from synoptic.deploy.site import Site
from synoptic.deploy.terms import terms_of
from synoptic.experiment.recipe import load_recipe
from synoptic.federation.bench import make_bench
from synoptic.federation.local import LocalFederation
from synoptic.federation.personal import PersonalStore
from synoptic.federation.server import Server
from synoptic.federation.spec import FederationSpec
from synoptic.methods.base import load_method
from synoptic.models.cache import Budget
from synoptic.models.load import shared_model

LARGEST = 2**24


class World:
    """A server and the nodes that it asks.

    Args:
        folder: for the nodes' state.
        clients: how many.
        deadline, grace: seconds, see `FlowerFederation`.
        policy: of every node.
        post: makes what carries letters to these nodes; by default they are in this process.
        spec: fields of `FederationSpec`.

    Attributes:
        nodes: by seat.
        server: asks; its round is as the caller sets it.
        said: what a person at the server was told.
    """

    server: Server

    def __init__(
        self, folder: Path, clients: int = 4, deadline: float = 20.0, grace: float = 0.3, policy: Policy | None = None,
        post: Callable[[dict[int, Node]], Post] = Loopback, **spec: Any,
    ) -> None:  # fmt: skip
        self.folder, self.clients, self.policy = folder, clients, policy or Policy()
        self.recipe = load_recipe("fedavg", [
            f"data.clients={clients}", f"data.train_limit={18 * clients}", "data.test_limit=40", "train.batch_size=8",
            "compute.threads=1", "federation.stack=1", "rounds=4", "adapter.vision.lora.rank=2",
            "adapter.vision.lora.layers=1", f"output={folder}",
        ])  # fmt: skip
        recipe = self.recipe
        data, model = build(recipe.data, recipe.seed), shared_model(recipe.model, recipe.compute.base_dtype)
        self.bench = make_bench(
            model, data, recipe.what_is_adapted, recipe.train, recipe.seed, recipe.rounds, Budget(2**28)
        )
        self.method = load_method(recipe.method.name)(recipe.method.settings)
        self.nodes = {seat: self.new_node(seat) for seat in range(clients)}
        self.post: Any = post(self.nodes)
        self.said: list[str] = []
        self._waits = (deadline, grace)
        self._spec = FederationSpec(min_replies=1, **spec)
        self.begin()
        self.start = self.server.new_adapter()

    def new_node(self, seat: int) -> Node:
        """The node of a client as a process that has just begun finds its folder."""
        return Node(Site(seats=(seat,), of=self.clients), self.policy, self.folder / str(seat))

    def begin(self) -> None:
        """A server process that has just begun meets the nodes."""
        offered = terms_of(self.recipe, self.bench.data, self.bench.model.fingerprint, "run", 0, LARGEST)
        names = tuple(f"client-{seat}" for seat in range(self.clients))
        round_ = self.server.round if hasattr(self, "server") else 0
        self.roster = Roster(self.post, offered, names, secrets.token_hex(4), 60.0, self.said.append)
        self.federation = FlowerFederation(self.roster, *self._waits, patience=60.0)
        self.federation.gather(range(self.clients), round_)
        self.server = Server(self.bench, self.federation, self._spec)
        self.server.round = round_

    def ask(self, **payload: Any) -> Any:
        """One round's training."""
        self.server.failures.clear()
        return self.server.ask("train", adapter=self.start, **payload)

    def here(self) -> Any:
        """The same in process: what honest nodes reply."""
        local = LocalFederation(self.method, self.bench, PersonalStore(), 1)
        server = Server(self.bench, local, FederationSpec())
        server.round = self.server.round
        return server.ask("train", adapter=self.start)

    def reasons(self) -> dict[int, str]:
        """Of the failures of the last ask."""
        return {failure.client: failure.reason for failure in self.server.failures}
