"""A client that joins a finished run: it takes what the clients share, and trains what each has for itself."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from tensordict import TensorDict

from synoptic.adapters.blocks import block_of
from synoptic.adapters.stack import expand, leaves, names, size_bytes, trainable_names, without
from synoptic.core.errors import SynopticError, listing
from synoptic.data.federated import FederatedData, build
from synoptic.data.tasks import TaskData, checked_tasks
from synoptic.experiment.checkpoint import newest_checkpoint
from synoptic.experiment.delivered import finished, read_about
from synoptic.experiment.export import whole_or_nothing
from synoptic.experiment.newcomer import newcomer_recipe
from synoptic.experiment.onboarded import Onboarded, write_onboarded
from synoptic.experiment.recipe import Recipe
from synoptic.experiment.records import RunRecord
from synoptic.federation.bench import Bench, make_bench
from synoptic.federation.cohort import Cohort
from synoptic.federation.local import LocalFederation
from synoptic.federation.personal import Personal, PersonalStore
from synoptic.federation.server import Server
from synoptic.learning.fit import Fitted
from synoptic.learning.problem import Stack, measured
from synoptic.methods.base import Method, load_method, registry
from synoptic.models.cache import Budget, parse_bytes
from synoptic.models.load import shared_model


def onboard(run: Path, settings: Sequence[str], out: Path, client: str | None = None) -> Onboarded:
    """Make an adapter for a newcomer and write it to a folder with a card; nothing of the run is changed.

    Args:
        run: folder of a finished run.
        settings: the newcomer's data and training, as typed: ``data=folder:photos``, ``train.steps=20``.
        out: where to write; new or empty.
        client: which client of the data, by name or number, if they have several.

    Raises:
        SynopticError: the run is not finished, has another base or gives a newcomer nothing; settings that name no
            data or what is the run's; ``out`` is in use or cannot be written.
    """
    record = finished(run)
    recipe = newcomer_recipe(record, settings)
    method = load_method(recipe.method.name)(recipe.method.settings)
    if method.reward is not None:
        raise SynopticError("reward models have no place for a newcomer: each client's own judges its own taste",
                            "train one on the newcomer's pairs with: synoptic run reward_model")  # fmt: skip
    data = build(recipe.data, recipe.seed)
    if isinstance(data, TaskData):
        checked_tasks([*read_about(record).tasks, *data.tasks])
    place = _place(data, client)
    bench = _bench(record, recipe, data)
    shared = _broadcast(record, recipe, method, bench, place)
    cohort = Cohort([place], bench, Personal(PersonalStore(), [place]), 0, method.personal)
    begun = method.newcomer(cohort, shared)
    if begun is None or shared is None:
        raise SynopticError(f"a run of {_called(recipe)} gives a newcomer nothing to begin with", _who_can())
    start, patterns = _completed(bench, place, *begun)
    fitted = cohort.fit(start, trainable=patterns)
    done = _told(bench, place, shared, start, fitted, patterns)
    with whole_or_nothing(out) as folder:
        write_onboarded(record, recipe, bench, fitted.stack[0], done, folder, _command(record, settings, client))
    return done


def _place(data: FederatedData, client: str | None) -> int:
    if client is not None:
        return data.clients.number(client)
    if len(data.clients) > 1:
        known = [data.clients.name(place) for place in range(len(data.clients))]
        raise SynopticError("these data have several clients", f"choose with --client among {listing(known)}")
    return 0


def _bench(record: RunRecord, recipe: Recipe, data: FederatedData) -> Bench:
    model = shared_model(recipe.model, recipe.compute.base_dtype)
    known = record.summary["model"]["fingerprint"]
    if model.fingerprint != known:
        raise SynopticError(f"the base '{recipe.model}' of the run was {known} and is now {model.fingerprint}",
                            "put the old weights back")  # fmt: skip
    budget = Budget(parse_bytes(recipe.compute.cache_memory), None) if recipe.compute.cache else None
    return make_bench(model, data, recipe.what_is_adapted, recipe.train, recipe.seed, 1, budget)


def _broadcast(record: RunRecord, recipe: Recipe, method: Method, bench: Bench, place: int) -> TensorDict | None:
    """What the server of the run would send to this client now."""
    state, _, _ = newest_checkpoint(record.folder.checkpoints)
    federation = LocalFederation(method, bench, PersonalStore(), 1)
    server = Server(bench, federation, recipe.federation)
    server.state.load(state)
    shared = method.broadcast(server)
    return shared if shared is None else bench.owned(shared, [place])


def _completed(bench: Bench, place: int, start: TensorDict, patterns: list[str]) -> tuple[TensorDict, list[str]]:
    """With fresh blocks, to be trained, for a task that nobody in the run had."""
    if bench.tasking is None:
        return start, patterns
    fresh = without(expand(bench.new_adapter([place]), 1), names(start))
    if not names(fresh):
        return start, patterns
    whole = TensorDict({**leaves(start), **leaves(fresh)}, batch_size=start.batch_size)
    return whole, patterns if patterns == ["*"] else [*patterns, *trainable_names(fresh)]


def _called(recipe: Recipe) -> str:
    """The method, and which of its settings are not the usual ones."""
    changed = recipe.method.settings.model_dump(exclude_defaults=True)
    return " ".join([recipe.method.name, *(f"method.{key}={value}" for key, value in changed.items())])


def _who_can() -> str:
    able = [name for name in registry() if _gives(load_method(name))]
    return f"take a run of {', '.join(able[:-1])} or {able[-1]}"


def _gives(kind: type[Method]) -> bool:
    """Whether runs with the method's default settings give a newcomer something."""
    method = kind()
    sends = method.has_shared or (kind.broadcast is not Method.broadcast and bool(method.personal))
    return sends and kind.begin is not Method.begin


def _told(
    bench: Bench, place: int, shared: TensorDict, start: TensorDict, fitted: Fitted, patterns: list[str]
) -> Onboarded:
    clients = bench.data.clients
    stacks: dict[str, Stack] = {"given": start, "fitted": fitted.stack}
    if bench.tasking is None:
        # Without blocks a model of several tasks has no heads.
        stacks = {"base": {}, **stacks}
    measures = {name: _measured(bench, place, stack) for name, stack in stacks.items()}
    return Onboarded(
        clients.name(place), len(clients.train(place)), len(clients.test(place)), size_bytes(shared),
        _what(shared, start, patterns, bench.tasking is not None), int(fitted.steps[0]), measures,
    )  # fmt: skip


def _measured(bench: Bench, place: int, stack: Stack) -> dict[str, float]:
    """Means over the newcomer's test examples; of several tasks one by one, the task's name before the quantity."""
    data, problem = bench.data, bench.problem
    found: dict[str, float] = {}
    for split in data.local_splits:
        rows = data.local_rows(place, split)
        scores = problem.score(stack, rows, split) if len(rows) else {}
        task = split.partition("/")[2]
        found |= {f"{task} {quantity}".strip(): float(scores[quantity].double().mean())
                  for quantity in measured(problem, split) if quantity in scores}  # fmt: skip
    return found


def _what(shared: TensorDict, start: TensorDict, patterns: list[str], several_tasks: bool) -> str:
    """What was trained, in words.

    A factor of a pair is called A or B, and whatever else by its kind; of several tasks blocks by their names.
    """
    trained = trainable_names(start) if patterns == ["*"] else [name for name in patterns if name in names(start)]
    if set(trained) & set(names(shared)):
        return "a copy of the shared adapter"
    if several_tasks:
        return f"{', '.join(sorted({block_of(name) for name in trained}))}, of its own"
    kinds = {name.rpartition("/")[2] if "/lora/" in name else name.split("/")[1] for name in trained}
    return f"{' and '.join(sorted(kinds - {'scale'}))} of its own"


def _command(record: RunRecord, settings: Sequence[str], client: str | None) -> str:
    """What was typed, without the client's name and without where its data lie."""
    told = [text for text in settings if text.partition("=")[0].startswith("train.")]
    words = ["synoptic onboard", record.name, "data=...", *map(shlex.quote, told)]
    return " ".join([*words, *(["--client CLIENT"] if client else [])])
