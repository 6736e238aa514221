"""What a newcomer of a finished run got, and the folder that holds it: the adapter, a card and the figures."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from tensordict import TensorDict

from synoptic.adapters.peft_io import CONFIG, copy_peft, export_peft
from synoptic.core.files import read_json, write_json
from synoptic.data.federated import FederatedData
from synoptic.experiment.card import Subject, write_newcomer_card
from synoptic.experiment.deliver import tasks_of, words_of
from synoptic.experiment.delivered import Delivered, Sizes, read_about
from synoptic.experiment.export import public_name
from synoptic.experiment.recipe import Recipe
from synoptic.experiment.records import RunRecord
from synoptic.federation.bench import Bench
from synoptic.models.multitask.saved import copy_blocks, save_blocks

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


def write_onboarded(
    record: RunRecord, recipe: Recipe, bench: Bench, one: TensorDict, done: Onboarded, folder: Path, command: str
) -> None:
    """Write the adapter, ``README.md`` and ``onboarded.json``.

    Args:
        record: the run.
        recipe: the newcomer's.
        bench: with the newcomer's data.
        one: its adapter (batch size ``[]``).
        done: what it got.
        folder: where to write.
        command: what was typed.
    """
    base, data, tasks = public_name(recipe.model), bench.data, tasks_of(bench)
    if bench.tasking is None:
        export_peft(one, folder, bench.model, words_of(data))
    else:
        save_blocks(one, folder, bench.tasking.model)
    family = read_json(folder / CONFIG)["auto_mapping"]["base_model_class"] if (folder / CONFIG).exists() else None
    about = read_about(record).model_copy(update={"words": words_of(data), "tasks": tasks, "sizes": _sizes(data, done)})
    which = Delivered("personal", folder, done.client)
    subject = Subject(_as_run(record, recipe, done), about, which, one, base, family, tasks=tasks)
    card = write_newcomer_card(subject, done, recipe.train, command)
    (copy_blocks if tasks else copy_peft)(folder, folder, base, card)
    # A client's name may say who it is, and this folder may be given away.
    write_json(folder / RESULT, {key: value for key, value in asdict(done).items() if key != "client"})


def _as_run(record: RunRecord, recipe: Recipe, done: Onboarded) -> RunRecord:
    """The run with the newcomer's data and measures in place of its own."""
    first, last = next(iter(done.measures)), "fitted"
    measured = {key: _named(done.measures[name]) for key, name in (("before", first), ("metrics", last))}
    return replace(record, recipe=recipe.resolved(), summary={**record.summary, **measured, "clients": {}})


def _named(measures: dict[str, float]) -> dict[str, float]:
    """By the names that a run's metrics have: ``shapes accuracy`` is ``personal/local/shapes/accuracy/mean``."""
    return {f"personal/local/{quantity.replace(' ', '/')}/mean": value for quantity, value in measures.items()}


def _sizes(data: FederatedData, done: Onboarded) -> Sizes:
    held, origin = done.examples, data.origin
    dropped = origin.dropped if origin is not None else 0
    return Sizes(train=held, test=done.tests, clients=1, fewest=held, median=float(np.median([held])), most=held,
                 dropped=dropped, domains=0, domain_names=())  # fmt: skip
