"""From a recipe to a finished run: set up, round after round with a checkpoint each, evaluate, export.

The loop knows no method and no model; whoever wants to watch subscribes to its events.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from synoptic.core import SynopticError
from synoptic.core.files import digest, read_json, write_json, write_text
from synoptic.data import manifest
from synoptic.data.federated import FederatedData, build
from synoptic.experiment.checkpoint import (
    Progress,
    clean_personal,
    list_checkpoints,
    newest_checkpoint,
    save_checkpoint,
)
from synoptic.experiment.compute import choose
from synoptic.experiment.deliver import export_adapters
from synoptic.experiment.evaluate import evaluate
from synoptic.experiment.event_schema import SCHEMA
from synoptic.experiment.events import Event, EventLog
from synoptic.experiment.folder import RunFolder, describe_environment, existing_folder, new_folder, writing
from synoptic.experiment.recipe import Recipe, read_recipe
from synoptic.federation.bench import make_bench
from synoptic.federation.local import LocalFederation
from synoptic.federation.personal import PersonalStore
from synoptic.federation.server import RoundFailed, Server
from synoptic.learning.problem import check_suited, new_adapter
from synoptic.methods.base import load_method
from synoptic.models.cache import Budget, parse_bytes
from synoptic.models.load import shared_model

Observer = Callable[[Event], None]
UNWRITTEN = {"cohort"}
"""Events for people who watch; too many to keep."""


@dataclass(frozen=True)
class RunResult:
    """What a finished run gives back: its folder, its final metrics, and all of ``summary.json``."""

    folder: Path
    metrics: dict[str, float]
    summary: dict[str, Any]


def run(recipe: Recipe, observers: Sequence[Observer] = ()) -> RunResult:
    """Run a recipe in a new folder.

    Args:
        recipe: from `synoptic.experiment.recipe.load_recipe`.
        observers: called with every event, in order.

    Raises:
        SynopticError: what a user can mend; the folder keeps all that was done.
        KeyboardInterrupt: passed on after the last finished round was saved.
    """
    data = build(recipe.data, recipe.seed)
    base = shared_model(recipe.model, recipe.compute.base_dtype)
    reward = load_method(recipe.method.name)(recipe.method.settings).reward
    check_suited(base, data, reward)
    if recipe.rounds:
        # Layers, targets or a rank that the base lacks are told before there is a folder.
        new_adapter(base, recipe.what_is_adapted, recipe.seed, reward, data)
    folder = new_folder(Path(recipe.output), run_name(recipe))
    with writing(folder):
        write_text(folder.recipe, recipe.to_yaml())
        manifest.save(data, folder.manifest)
        return Session(recipe, data, folder, observers).go()


def resume(path: Path, observers: Sequence[Observer] = ()) -> RunResult:
    """Go on where a run stopped; the result is bit for bit that of a run that never stopped."""
    folder = existing_folder(path)
    recipe = read_recipe(folder.recipe)
    if folder.summary.exists():
        summary = read_json(folder.summary)
        return RunResult(folder.path, summary["metrics"], summary)
    with writing(folder):
        return Session(recipe, manifest.load(folder.manifest, recipe.data), folder, observers).go()


def run_name(recipe: Recipe) -> str:
    """What a run's folder is called: method, data, first digits of the recipe hash, seed."""
    return f"{recipe.method.name}-{recipe.data.source}-{recipe.hash[:8]}-s{recipe.seed}"


class Session:
    """One process's work on one run."""

    def __init__(self, recipe: Recipe, data: FederatedData, folder: RunFolder, observers: Sequence[Observer]) -> None:
        self.recipe = recipe
        self.folder = folder
        self._observers = observers
        self.method = load_method(recipe.method.name)(recipe.method.settings)
        self.store = PersonalStore(folder.personal)
        self.progress = Progress()
        self.started = False
        memory = parse_bytes(recipe.compute.cache_memory)
        spill = Path(recipe.compute.cache_dir) if recipe.compute.cache_dir else None
        model = shared_model(recipe.model, recipe.compute.base_dtype)
        self.measured = make_bench(model, data, recipe.what_is_adapted, recipe.train, recipe.seed, recipe.rounds,
                                   Budget(memory, spill) if recipe.compute.cache else None,
                                   self.method.reward)  # fmt: skip
        self.bench = self.measured
        if self.method.pools_data:
            self.bench = replace(self.measured, data=replace(data, clients=data.clients.pooled()))

    # -- the whole ----------------------------------------------------------------------------------------------------

    def go(self) -> RunResult:
        """All rounds that are left, then the summary."""
        threads, stack = self._compute()
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            self._connect(stack)
            self._start(threads, stack)
            for t in range(self.progress.round, self.recipe.rounds):
                self._round(t)
            return self._finish()
        except KeyboardInterrupt:
            if self.started:
                self._tell({"type": "interrupted", "round": self.progress.round, "folder": str(self.folder.path)})
            raise
        finally:
            torch.set_num_threads(before)

    def _compute(self) -> tuple[int, int]:
        if self.folder.environment.exists():
            known = read_json(self.folder.environment)
            ours = self.bench.model.fingerprint
            if known["base"] != ours:
                raise SynopticError(f"the base '{self.recipe.model}' was {known['base']} and is now {ours}",
                                    "put the old weights back, or start the run anew")  # fmt: skip
            return int(known["threads"]), int(known["stack"])
        cohort = self.recipe.federation.cohort_size(len(self.bench.data.clients)) if self.recipe.rounds else 0
        threads, stack = choose(self.bench, cohort, self.recipe.compute.threads, self.recipe.federation.stack)
        write_json(self.folder.environment, describe_environment(threads, stack, self.bench.model.fingerprint))
        return threads, stack

    def _connect(self, stack: int) -> None:
        spec = self.recipe.federation
        federation = LocalFederation(self.method, self.bench, self.store, stack, spec.deadline)
        federation.on_progress = self._cohort
        self.server = Server(self.bench, federation, spec)
        self.judge = self.server
        if self.method.pools_data:
            self.judge = Server(self.measured, LocalFederation(self.method, self.measured, self.store, stack), spec)
            self.judge.state, self.judge.ledger = self.server.state, self.server.ledger

    def _start(self, threads: int, stack: int) -> None:
        first = not list_checkpoints(self.folder.checkpoints)
        if not first:
            state, self.progress, damaged = newest_checkpoint(self.folder.checkpoints)
            self.server.state.load(state)
            self.server.ledger.load(self.progress.ledger)
            self.server.work.update(self.progress.work)
            self.store.versions = dict(self.progress.personal)
        self.log = EventLog(self.folder.events, self.progress.events_size)
        self.started = True
        data = self.measured.data
        self._tell({
            "type": "run_started", "schema": SCHEMA, "run": self.folder.path.name, "folder": str(self.folder.path),
            "method": self.recipe.method.name, "model": self.recipe.model, "data": self.recipe.data.source,
            "clients": len(data.clients), "rounds": self.recipe.rounds, "seed": self.recipe.seed,
            "recipe_hash": self.recipe.hash, "threads": threads, "stack": stack, "first_round": self.progress.round,
        })  # fmt: skip
        if first:
            with self._timed("train"):
                self.method.begin(self.server)
            self.progress.before = self._evaluate(-1)
            self._save()
        else:
            for sentence in damaged:
                self._tell({"type": "checkpoint_skipped", "reason": sentence})

    # -- one round ----------------------------------------------------------------------------------------------------

    def _round(self, t: int) -> None:
        started, bytes_before = time.perf_counter(), [self.server.ledger.total(way) for way in ("up", "down")]
        self.server.round = self.judge.round = t
        self.server.failures.clear()
        self.server.log.clear()
        failed = self._train(t)
        for failure in self.server.failures:
            self._tell({"type": "failure", "round": t, "client": failure.client, "task": failure.task,
                        "reason": failure.reason})  # fmt: skip
        self.store.commit(t + 1)
        every = self.recipe.evaluate.every
        last = t + 1 == self.recipe.rounds
        metrics = self._evaluate(t) if last or (every and (t + 1) % every == 0) else {}
        up, down = (self.server.ledger.total(way) for way in ("up", "down"))
        self.progress.round = t + 1
        for name, value in self.server.log.items():
            total, rounds = self.progress.logged.get(name, (0.0, 0))
            self.progress.logged[name] = [total + value, rounds + 1]
        self._tell({
            "type": "round", "round": t, "rounds": self.recipe.rounds, "seconds": time.perf_counter() - started,
            "loss": self.server.log.get("loss"), "clients": len(self.server.sampled), "failed": failed,
            "bytes_up": up - bytes_before[0], "bytes_down": down - bytes_before[1], "metrics": metrics,
            "log": dict(self.server.log),
        })  # fmt: skip
        self._save()
        if self.progress.failed >= self.recipe.federation.max_failed_rounds:
            raise SynopticError(f"{self.progress.failed} rounds in a row failed",
                                f"mend the clients and go on with --resume {self.folder.path}")  # fmt: skip

    def _train(self, t: int) -> bool:
        waited, started = self.server.waited, time.perf_counter()
        done = self._attempt("round_failed", lambda: self.method.round(self.server, t))
        self.progress.failed = 0 if done else self.progress.failed + 1
        if t + 1 == self.recipe.rounds:
            self._end(t)
        spent, waited = time.perf_counter() - started, self.server.waited - waited
        self._spend("train", waited)
        self._spend("communicate", spent - waited)
        return not done

    def _attempt(self, otherwise: str, what: Callable[[], None]) -> bool:
        """Whether enough clients answered; if not, nothing has changed and an event says so."""
        try:
            with self.server.attempt():
                what()
        except RoundFailed as error:
            self.store.undo()
            self._tell({"type": otherwise, "round": self.server.round, "reason": str(error)})
            return False
        return True

    def _end(self, t: int) -> None:
        """What follows the last round. Without it the run does not count as finished: resuming repeats that round."""
        self.store.commit(t + 1)  # What the round changed stays, however often the end has to be tried.
        tries = self.recipe.federation.max_failed_rounds
        if not any(self._attempt("end_failed", lambda: self.method.end(self.server)) for _ in range(tries)):
            raise SynopticError(f"too few clients answered after the last round, {tries} times in a row",
                                f"mend the clients and go on with --resume {self.folder.path}")  # fmt: skip

    def _evaluate(self, t: int) -> dict[str, float]:
        whole = self.recipe.evaluate.personal == "every" or t + 1 == self.recipe.rounds
        with self._timed("evaluate"):
            result = evaluate(self.method, self.judge, whole, self.recipe.evaluate.clients)
        self.progress.metrics, self.progress.clients = result.metrics, result.clients
        self._tell({"type": "evaluated", "round": t, "metrics": result.metrics, "per_client": result.clients})
        return result.metrics

    def _save(self) -> None:
        self.progress.ledger = self.server.ledger.dump()
        self.progress.work = dict(self.server.work)
        self.progress.events_size = self.log.size
        self.progress.personal = dict(self.store.versions)
        save_checkpoint(self.folder.checkpoints, self.server.state.dump(), self.progress, self.recipe.keep)
        clean_personal(self.folder.checkpoints, self.store)

    # -- the end ------------------------------------------------------------------------------------------------------

    def _finish(self) -> RunResult:
        export_adapters(self.folder.adapters, self.method, self.judge, self.store)
        seconds = {name: self.progress.seconds.get(name, 0.0) for name in ("train", "evaluate", "communicate")}
        summary = {
            "method": self.recipe.method.name,
            "recipe_hash": self.recipe.hash,
            "seed": self.recipe.seed,
            "rounds": self.progress.round,
            "final_hash": digest(self.server.state.hash(), self.store.hash()),
            "metrics": self.progress.metrics,
            "before": self.progress.before,
            "clients": self.progress.clients,
            "bytes": self.server.ledger.summary(),
            "seconds": {"total": sum(seconds.values()), **seconds},
            "work": dict(self.server.work),
            "log": {name: total / rounds for name, (total, rounds) in self.progress.logged.items()},
            "model": {"name": self.recipe.model, "fingerprint": self.bench.model.fingerprint},
            "environment": read_json(self.folder.environment),
        }
        # The summary comes last: where it is, everything else is.
        self._tell({"type": "run_finished", "folder": str(self.folder.path), "summary": summary})
        write_json(self.folder.summary, summary)
        return RunResult(self.folder.path, self.progress.metrics, summary)

    # -- small things -------------------------------------------------------------------------------------------------

    def _tell(self, event: Event) -> None:
        event = {**event, "time": round(time.time(), 3)}
        if event["type"] not in UNWRITTEN:
            self.log.append(event)
        for observer in self._observers:
            observer(event)

    def _cohort(self, task: str, done: int, total: int) -> None:
        for observer in self._observers:
            observer({"type": "cohort", "round": self.server.round, "task": task, "done": done, "total": total})

    def _spend(self, what: str, seconds: float) -> None:
        self.progress.seconds[what] = self.progress.seconds.get(what, 0.0) + seconds

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._spend(what, time.perf_counter() - started)
