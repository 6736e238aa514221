"""A client that joins a finished run: it takes what the clients share, and trains what each has for itself."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tensordict import TensorDict

from synoptic.adapters.peft_io import CONFIG, copy_peft, export_peft
from synoptic.adapters.stack import names, size_bytes, trainable_names
from synoptic.core import SynopticError
from synoptic.core.files import read_json, write_json
from synoptic.data.federated import FederatedData, build
from synoptic.experiment.card import Subject, write_newcomer_card
from synoptic.experiment.checkpoint import newest_checkpoint
from synoptic.experiment.deliver import words_of
from synoptic.experiment.delivered import Delivered, Sizes, finished, listing, read_about
from synoptic.experiment.export import public_name, whole_or_nothing
from synoptic.experiment.newcomer import newcomer_recipe
from synoptic.experiment.recipe import Recipe
from synoptic.experiment.records import RunRecord
from synoptic.federation.bench import Bench, make_bench
from synoptic.federation.cohort import Cohort
from synoptic.federation.local import LocalFederation
from synoptic.federation.personal import Personal, PersonalStore
from synoptic.federation.server import Server
from synoptic.learning.fit import Fitted
from synoptic.methods.base import Method, load_method, registry
from synoptic.models.cache import Budget, parse_bytes
from synoptic.models.load import shared_model

RESULT = "onboarded.json"

Measures = dict[str, dict[str, float]]
"""Each quantity, as a mean over test examples, of ``base``, ``given`` and ``fitted``."""


@dataclass(frozen=True)
class Onboarded:
    """What a newcomer got.

    Attributes:
        client: its name in its data.
        examples, tests: how many it holds.
        bytes_down: what it was given.
        what: what it trained, in words.
        steps: of training.
        measures: on its own test examples.
    """

    client: str
    examples: int
    tests: int
    bytes_down: int
    what: str
    steps: int
    measures: Measures


def onboard(run: Path, settings: Sequence[str], out: Path, client: str | None = None) -> Onboarded:
    """Make an adapter for a newcomer and write it as a PEFT folder with a card; nothing of the run is changed.

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
    place = _place(data, client)
    bench = _bench(record, recipe, data)
    shared = _broadcast(record, recipe, method, bench)
    cohort = Cohort([place], bench, Personal(PersonalStore(), [place]), 0, method.personal)
    begun = method.newcomer(cohort, shared)
    if begun is None or shared is None:
        raise SynopticError(f"a run of {_called(recipe)} gives a newcomer nothing to begin with", _who_can())
    start, patterns = begun
    fitted = cohort.fit(start, trainable=patterns)
    done = _told(bench, place, shared, start, fitted, patterns)
    with whole_or_nothing(out) as folder:
        _write(record, recipe, data, fitted.stack[0], done, folder, _command(record, settings, client))
    return done


def _place(data: FederatedData, client: str | None) -> int:
    known = [data.clients.name(place) for place in range(len(data.clients))]
    if client is None and len(known) == 1:
        return 0
    if client in known:
        return known.index(client)
    if client is not None and client.isdecimal() and int(client) < len(known):
        return int(client)
    what = f"these data have no client '{client}'" if client is not None else "these data have several clients"
    raise SynopticError(what, f"choose with --client among {listing(known)}")


def _bench(record: RunRecord, recipe: Recipe, data: FederatedData) -> Bench:
    model = shared_model(recipe.model, recipe.compute.base_dtype)
    known = record.summary["model"]["fingerprint"]
    if model.fingerprint != known:
        raise SynopticError(f"the base '{recipe.model}' of the run was {known} and is now {model.fingerprint}",
                            "put the old weights back")  # fmt: skip
    budget = Budget(parse_bytes(recipe.compute.cache_memory), None) if recipe.compute.cache else None
    return make_bench(model, data, recipe.what_is_adapted, recipe.train, recipe.seed, 1, budget)


def _broadcast(record: RunRecord, recipe: Recipe, method: Method, bench: Bench) -> TensorDict | None:
    """What the server of the run would send to a client now."""
    state, _, _ = newest_checkpoint(record.folder.checkpoints)
    federation = LocalFederation(method, bench, PersonalStore(), 1)
    server = Server(bench, federation, recipe.federation)
    server.state.load(state)
    return method.broadcast(server)


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
    return sends and kind.begin is not Method.begin and not kind.tasks_only


def _told(
    bench: Bench, place: int, shared: TensorDict, start: TensorDict, fitted: Fitted, patterns: list[str]
) -> Onboarded:
    clients = bench.data.clients
    rows = clients.test(place)
    measures: Measures = {}
    for name, stack in (("base", {}), ("given", start), ("fitted", fitted.stack)):
        scores = bench.problem.score(stack, rows, "local")
        measures[name] = {quantity: float(scores[quantity].double().mean()) for quantity in bench.problem.quantities}
    return Onboarded(
        clients.name(place), len(clients.train(place)), len(rows), size_bytes(shared), _what(shared, start, patterns),
        int(fitted.steps[0]), measures,
    )  # fmt: skip


def _what(shared: TensorDict, start: TensorDict, patterns: list[str]) -> str:
    """What was trained, in words.

    A factor of a pair is called A or B, and whatever else by its kind.
    """
    trained = trainable_names(start) if patterns == ["*"] else [name for name in patterns if name in names(start)]
    if set(trained) & set(names(shared)):
        return "a copy of the shared adapter"
    kinds = {name.rpartition("/")[2] if "/lora/" in name else name.split("/")[1] for name in trained}
    return f"{' and '.join(sorted(kinds - {'scale'}))} of its own"


def _write(
    record: RunRecord, recipe: Recipe, data: FederatedData, one: TensorDict, done: Onboarded, folder: Path, command: str
) -> None:
    model, base = shared_model(recipe.model, recipe.compute.base_dtype), public_name(recipe.model)
    export_peft(one, folder, model, words_of(data))
    family = read_json(folder / CONFIG)["auto_mapping"]["base_model_class"] if (folder / CONFIG).exists() else None
    about = read_about(record).model_copy(update={"words": words_of(data), "sizes": _sizes(data, done)})
    subject = Subject(
        _as_run(record, recipe, done), about, Delivered("personal", folder, done.client), one, base, family
    )
    copy_peft(folder, folder, base, write_newcomer_card(subject, done, recipe.train, command))
    # A client's name may say who it is, and this folder may be given away.
    write_json(folder / RESULT, {key: value for key, value in asdict(done).items() if key != "client"})


def _as_run(record: RunRecord, recipe: Recipe, done: Onboarded) -> RunRecord:
    """The run with the newcomer's data and measures in place of its own."""
    measured: dict[str, Any] = {
        key: {"personal/local/accuracy/mean": done.measures[name]["accuracy"]}
        for key, name in (("before", "base"), ("metrics", "fitted"))
    }
    return replace(record, recipe=recipe.resolved(), summary={**record.summary, **measured, "clients": {}})


def _sizes(data: FederatedData, done: Onboarded) -> Sizes:
    held, origin = done.examples, data.origin
    dropped = origin.dropped if origin is not None else 0
    return Sizes(train=held, test=done.tests, clients=1, fewest=held, median=float(np.median([held])), most=held,
                 dropped=dropped, domains=0, domain_names=())  # fmt: skip


def _command(record: RunRecord, settings: Sequence[str], client: str | None) -> str:
    """What was typed, without the client's name and without where its data lie."""
    told = [text for text in settings if text.partition("=")[0].startswith("train.")]
    words = ["synoptic onboard", record.name, "data=...", *map(shlex.quote, told)]
    return " ".join([*words, *(["--client CLIENT"] if client else [])])
