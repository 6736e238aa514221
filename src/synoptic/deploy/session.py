"""A run whose clients are nodes: the ordinary run with another federation beneath it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from synoptic.core import SynopticError
from synoptic.core.files import read_json, write_json, write_text
from synoptic.data import manifest
from synoptic.data.clients import ClientIndex
from synoptic.data.federated import FederatedData, build
from synoptic.data.rows import Rows
from synoptic.deploy.federation import GRACE, FlowerFederation
from synoptic.deploy.post import Post
from synoptic.deploy.roster import Roster
from synoptic.deploy.terms import terms_of
from synoptic.experiment.checkpoint import list_checkpoints, newest_checkpoint
from synoptic.experiment.folder import RunFolder, describe_environment, existing_folder, new_folder, writing
from synoptic.experiment.recipe import Recipe, read_recipe
from synoptic.experiment.runner import Observer, RunResult, Session, run_name
from synoptic.federation.server import Server
from synoptic.learning.problem import check_suited
from synoptic.methods.base import load_method
from synoptic.models.load import shared_model

NODES = "nodes.json"
"""Who is there, for `synoptic status`."""

IDENTITY = "deployed.json"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Hall:
    """Where nodes are met, and how long anybody waits.

    Attributes:
        post: to the nodes.
        names: of the sites; empty takes the names that the recipe's data gives its clients.
        patience: seconds for nodes to come, and for one to load base and data.
        grace: seconds for a node that went to come back.
        largest: bytes that a reply may have.
        say: told what a person at the server should know.
    """

    post: Post
    names: tuple[str, ...] = ()
    patience: float = 600.0
    grace: float = GRACE
    largest: int = 2**29
    say: Say = lambda sentence: None


def serve(recipe: Recipe, hall: Hall, observers: Sequence[Observer] = ()) -> RunResult:
    """Run a recipe with nodes, in a new folder.

    Raises:
        SynopticError: what a user can mend; the folder keeps all that was done.
    """
    method = load_method(recipe.method.name)(recipe.method.settings)
    if method.pools_data:
        raise SynopticError(f"{recipe.method.name} puts all data in one place, and sites keep theirs",
                            "run it in one process: synoptic run")  # fmt: skip
    data = seats(build(recipe.data, recipe.seed), hall.names)
    check_suited(shared_model(recipe.model, recipe.compute.base_dtype), data, method.reward)
    folder = new_folder(Path(recipe.output), run_name(recipe))
    with writing(folder):
        write_text(folder.recipe, recipe.to_yaml())
        manifest.save(data, folder.manifest)
        write_json(folder.path / IDENTITY, {"run": secrets.token_hex(16)})
        return Deployed(recipe, data, folder, observers, hall).go()


def resume(path: Path, hall: Hall, observers: Sequence[Observer] = ()) -> RunResult:
    """Go on with a run that `serve` began."""
    folder = served_folder(path)
    recipe = read_recipe(folder.recipe)
    if folder.summary.exists():
        summary = read_json(folder.summary)
        return RunResult(folder.path, summary["metrics"], summary)
    with writing(folder):
        return Deployed(recipe, manifest.load(folder.manifest, recipe.data), folder, observers, hall).go()


def served_folder(path: Path) -> RunFolder:
    """The folder of a run that `serve` began.

    Raises:
        SynopticError: there is none, or its run was not one with nodes.
    """
    folder = existing_folder(path)
    if not (path / IDENTITY).exists():
        raise SynopticError(f"{path} was not run with nodes", f"go on with: synoptic run --resume {path}")
    return folder


def seats(data: FederatedData, names: tuple[str, ...]) -> FederatedData:
    """The server's data with a client for each name. Another number of clients than the recipe's holds none of it."""
    if not names:
        return data
    clients = data.clients
    if len(names) != len(clients):
        none = Rows(np.zeros(0, dtype=np.int64), np.zeros(len(names) + 1, dtype=np.int64))
        clients = ClientIndex(none, none, none)
    return replace(data, clients=replace(clients, names=names))


class Deployed(Session):
    """See `synoptic.experiment.runner.Session`."""

    def __init__(
        self, recipe: Recipe, data: FederatedData, folder: RunFolder, observers: Sequence[Observer], hall: Hall
    ) -> None:
        super().__init__(recipe, data, folder, observers)
        self._hall = hall

    def go(self) -> RunResult:
        """All rounds that are left, then the summary; nodes are told how it ended."""
        try:
            result = super().go()
        except SynopticError as error:
            self._roster.bye(str(error))
            raise
        self._roster.bye("")
        return result

    def _compute(self) -> tuple[int, int]:
        # Nothing trains here, so there is nothing to measure; a node's stack is the recipe's, or one client at a time.
        if self.folder.environment.exists():
            return super()._compute()
        threads, stack = self.recipe.compute.threads, self.recipe.federation.stack
        chosen = (threads if isinstance(threads, int) else 1, stack if isinstance(stack, int) else 1)
        write_json(self.folder.environment, describe_environment(*chosen, self.bench.model.fingerprint))
        return chosen

    def _connect(self, stack: int) -> None:
        hall, spec, data = self._hall, self.recipe.federation, self.measured.data
        self._identity = read_json(self.folder.path / IDENTITY)
        offered = terms_of(self.recipe, data, self.bench.model.fingerprint, self._identity["run"], 0, hall.largest)
        names = tuple(data.clients.name(client) for client in range(len(data.clients)))
        self._roster = Roster(hall.post, offered, names, secrets.token_hex(16), hall.patience, hall.say)
        federation = self._federation = FlowerFederation(self._roster, spec.deadline, hall.grace, hall.patience)
        federation.on_progress = self._cohort
        federation.on_change = lambda: write_json(self.folder.path / NODES, self._nodes(federation, names))
        self.server = self.judge = Server(self.bench, federation, spec)

    def _start(self, threads: int, stack: int) -> None:
        known = list_checkpoints(self.folder.checkpoints)
        done = newest_checkpoint(self.folder.checkpoints)[1].round if known else 0
        # What came to nothing in rounds that are done; later ones are asked anew.
        self._federation.void = [(round_, first, last) for round_, first, last in self._identity.get("void", ())
                                 if round_ < done]  # fmt: skip
        # Before the clock of the run starts: who comes late costs the run no time.
        self._federation.gather(range(len(self.measured.data.clients)), done)
        super()._start(threads, stack)

    def _attempt(self, otherwise: str, what: Callable[[], None]) -> bool:
        first = self._federation.asked(self.server.round)
        done = super()._attempt(otherwise, what)
        if not done:
            self._federation.undo(self.server.round, first)
            write_json(self.folder.path / IDENTITY, {**self._identity, "void": self._federation.void})
        return done

    def _nodes(self, federation: FlowerFederation, names: tuple[str, ...]) -> dict[str, Any]:
        """Who is there and what was last heard of them, by the client's name."""
        homes = self._roster.homes
        told = {
            name: {
                "there": client in homes,
                "examples": homes[client].examples if client in homes else None,
                "last_reply": federation.last.get(client),
                "last_failure": federation.reasons.get(client),
            }
            for client, name in enumerate(names)
        }
        return {"time": time.time(), "round": self.server.round, "clients": told, "refused": self._roster.refusals()}
