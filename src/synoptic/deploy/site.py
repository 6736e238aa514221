"""A site: its data and its base, made into the workbench on which its clients' tasks run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synoptic.core import SynopticError
from synoptic.data.clients import ClientIndex
from synoptic.data.federated import FederatedData, build
from synoptic.data.rows import Rows
from synoptic.data.spec import SOURCES, DataSpec
from synoptic.data.table import ExampleTable
from synoptic.deploy.terms import Terms, Wish, check_base, check_version
from synoptic.experiment.recipe import Recipe, load_recipe
from synoptic.federation.bench import Bench, make_bench
from synoptic.learning.problem import check_suited
from synoptic.methods.base import Method, load_method
from synoptic.models.cache import Budget, parse_bytes
from synoptic.models.load import shared_model

SHOWN = 5
"""Class names that an error lists."""


@dataclass(frozen=True)
class Site:
    """What a node was started with.

    Attributes:
        data: the site's own data; None takes part ``seats`` of the recipe's data, for trying out.
        seats, of: which clients of how many.
        model: where this site has the base, if the recipe's name does not say it here.
    """

    data: DataSpec | None = None
    seats: tuple[int, ...] = ()
    of: int = 0
    model: str | None = None

    @property
    def wish(self) -> Wish:
        """What the site tells the server of itself."""
        return Wish(seats=self.seats, of=self.of)


@dataclass(frozen=True)
class Workplace:
    """A site that has agreed to the terms of a run."""

    terms: Terms
    recipe: Recipe
    method: Method
    bench: Bench
    own: bool

    @property
    def examples(self) -> int:
        """Training examples of all of the site's clients."""
        return sum(len(self.bench.data.clients.train(seat)) for seat in self.terms.seats)


def settle(site: Site, terms: Terms) -> Workplace:
    """Make the site fit the terms.

    Raises:
        SynopticError: it does not: another version, method, base or other classes; what both sides have is in it.
    """
    check_version(terms.version, "the server")
    recipe = Recipe.model_validate(terms.recipe)
    data = _own(site.data, recipe, terms) if site.data else _part(recipe, terms)
    name = site.model or recipe.model
    model = shared_model(name, recipe.compute.base_dtype)
    check_base(terms.base, model.fingerprint, name)
    memory = Budget(parse_bytes(recipe.compute.cache_memory)) if recipe.compute.cache else None
    method = load_method(recipe.method.name)(recipe.method.settings)
    check_suited(model, data, method.reward)
    adapter, train = recipe.what_is_adapted, recipe.train
    bench = make_bench(model, data, adapter, train, recipe.seed, recipe.rounds, memory, method.reward)
    return Workplace(terms, recipe, method, bench, own=site.data is not None)


def data_of(site: Site, terms: Terms) -> DataSpec:
    """What the site would read: its own data, or the recipe's."""
    return site.data or Recipe.model_validate(terms.recipe).data


def _part(recipe: Recipe, terms: Terms) -> FederatedData:
    """The recipe's data with everybody's rows but the site's left out."""
    data = build(recipe.data, recipe.seed)
    if len(data.clients) != terms.clients:
        raise SynopticError(f"the recipe's data has {len(data.clients)} clients, the run {terms.clients}",
                            "join with data of this site's own, --data DIR")  # fmt: skip
    if data.class_names != terms.class_names:
        raise SynopticError(_apart(data.class_names, terms.class_names), "give both sides the same data")
    held = [_only(rows, terms.seats) for rows in _parts(data.clients)]
    return replace(data, clients=ClientIndex(held[0], held[1], held[2], data.clients.names))


def _own(spec: DataSpec, recipe: Recipe, terms: Terms) -> FederatedData:
    """The site's own data as the one client that it is."""
    if recipe.data.tasks is not None:
        raise SynopticError("the run gives sites different tasks, and a site's own data are of one",
                            "join without --data, for a part of the recipe's")  # fmt: skip
    if spec.asks != recipe.data.asks:
        kind = "questions and answers" if recipe.data.asks else "pictures with a class"
        raise SynopticError(f"the run is about {kind}, and this site's data are not",
                            "name the columns of questions and answers with data.question and data.answer, "
                            "or leave them out")  # fmt: skip
    if len(terms.seats) != 1:
        raise SynopticError(
            f"a site with data of its own is one client, not {len(terms.seats)}", "join without --partition"
        )
    data = build(spec, recipe.seed)
    held = [_at(rows.pooled(), terms.seats[0], terms.clients) for rows in _parts(data.clients)]
    # Pooled test sets are the server's.
    alone = replace(data, tests={}, origin=None, clients=ClientIndex(held[0], held[1], held[2]))
    return alone if spec.asks else _fitted(alone, terms)


def _fitted(data: FederatedData, terms: Terms) -> FederatedData:
    """The same with labels in the server's numbering."""
    base = np.array(terms.base_classes, dtype=np.int64)
    train, test = (_renumbered(table, terms.class_names) for table in (data.train, data.test))
    novel = sorted({terms.class_names[label] for label in np.setdiff1d(train.labels, base)})
    if novel:
        raise SynopticError(f"this site would train {_listed(novel)}, which the run holds out as novel",
                            "leave these classes out with data.classes=[...]")  # fmt: skip
    return replace(
        data, train=train, test=test, base_classes=base, template=terms.template,
        novel_classes=np.array(terms.novel_classes, dtype=np.int64),
    )  # fmt: skip


def _renumbered(table: ExampleTable, names: tuple[str, ...]) -> ExampleTable:
    unknown = [name for name in table.class_names if name not in names]
    if unknown:
        raise SynopticError(_apart(table.class_names, names),
                            "rename the site's classes, or leave some out with data.classes=[...]")  # fmt: skip
    numbers = np.array([names.index(name) for name in table.class_names], dtype=np.int64)
    return replace(table, labels=numbers[table.labels], class_names=names)


def _apart(ours: tuple[str, ...], theirs: tuple[str, ...]) -> str:
    only = [name for name in ours if name not in theirs]
    missing = [name for name in theirs if name not in ours]
    return (f"this site's classes ({len(ours)}) do not fit the server's ({len(theirs)}): only here {_listed(only)}, "
            f"only there {_listed(missing)}")  # fmt: skip


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:SHOWN])) + (", ..." if len(names) > SHOWN else "") if names else "none"


def _parts(clients: ClientIndex) -> tuple[Rows, Rows, Rows]:
    return clients.train_rows, clients.val_rows, clients.test_rows


def _only(rows: Rows, seats: tuple[int, ...]) -> Rows:
    return _spread({seat: rows[seat] for seat in seats}, len(rows))


def _at(rows: Rows, seat: int, clients: int) -> Rows:
    return _spread({seat: rows[0]}, clients)


def _spread(held: dict[int, NDArray[Any]], clients: int) -> Rows:
    counts = np.array([len(held.get(seat, ())) for seat in range(clients)], dtype=np.int64)
    positions = [held[seat] for seat in sorted(held)]
    return Rows(np.concatenate([np.zeros(0, dtype=np.int64), *positions]), np.concatenate([[0], np.cumsum(counts)]))


def parse_partition(text: str) -> tuple[tuple[int, ...], int]:
    """``1/3`` or ``0-4/10``: which clients, of how many.

    Raises:
        SynopticError: it is neither.
    """
    which, _, of = text.partition("/")
    first, _, last = which.partition("-")
    try:
        seats = tuple(range(int(first), int(last or first) + 1))
        count = int(of)
    except ValueError:
        seats, count = (), 0
    if not seats or not 0 <= seats[0] <= seats[-1] < count:
        raise SynopticError(f"--partition {text} is no part of a whole", "write it like 0/3 or 0-4/10, counted from 0")
    return seats, count


def own_data(what: str, settings: Sequence[str]) -> DataSpec:
    """A site's own data as one client: a folder of class folders, parquet files or their folder, ``data=`` of a recipe.

    Raises:
        SynopticError: no such folder or file; settings that are not of data, or do not fit each other.
    """
    foreign = [text for text in settings if not text.startswith("data.")]
    if foreign:
        raise SynopticError(
            f"'{foreign[0]}' is the server's to say", "a site sets keys of its data only: data.label=..."
        )
    path = Path(what).expanduser()
    if path.is_dir():
        tables = [*path.glob("*.parquet"), *path.glob("data/*.parquet")]
        what = f"{'parquet' if tables else 'folder'}:{path}"
    elif path.suffix == ".parquet" and what.partition(":")[0] not in SOURCES:
        what = f"parquet:{path}"
    elif what.partition(":")[0] not in SOURCES:
        raise SynopticError(f"there is no folder or parquet file {what}",
                            f"check the path, or name a source: {', '.join(sorted(SOURCES))}")  # fmt: skip
    one = ["data.clients=1", "data.partition=iid"]
    return load_recipe("fedavg", [f"data={what}", *one, *settings]).data
