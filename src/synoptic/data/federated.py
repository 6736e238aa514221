"""A data set shared out among clients: what every method trains and is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synoptic.core.errors import SynopticError
from synoptic.core.files import digest
from synoptic.core.seeds import numpy_generator
from synoptic.data.clients import ClientIndex
from synoptic.data.overlap import check_overlap
from synoptic.data.partition import Partition, Request, partition
from synoptic.data.partition.together import shared_together
from synoptic.data.public import public_table, set_aside
from synoptic.data.rows import Rows
from synoptic.data.select import Selection, everything, rows_about, select, table_of
from synoptic.data.shares import few_shot, share_tests, validation, validation_together
from synoptic.data.sources import Source, open_source
from synoptic.data.spec import DataSpec
from synoptic.data.table import ExampleTable
from synoptic.data.wrong import contradicted

__all__ = ["ClientIndex", "FederatedData", "Origin", "build", "check_overlap"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Origin:
    """Where the tables come from, so that a manifest can find every row again.

    Attributes:
        spec, seed: what `build` was given.
        source: fingerprint of the whole source.
        train_rows, test_rows: ascending rows of the source's tables.
        classes, domains: indices into the source's words.
        dropped: training rows left out because the test part has the same picture.
        public_rows: ascending rows of the source's train table that only the server has.

    """

    spec: DataSpec
    seed: int
    source: str
    train_rows: Ints
    test_rows: Ints
    classes: Ints
    domains: Ints
    dropped: int
    public_rows: Ints


@dataclass(frozen=True, eq=False)
class FederatedData:
    """Examples, classes, evaluation splits and clients.

    Attributes:
        train: every training example of every client, of base classes only, in the source's order.
        test: held-out examples of base and novel classes, of all domains.
        base_classes, novel_classes: int64 indices into ``train.class_names``, disjoint; novel may be empty.
        template: the prompt, "a photo of a {}.".
        tests: positions in ``test`` by split: "global" (all), "base" (of questions only with novel classes), "novel"
            (with novel classes), and "domain/<name>" (base classes only; with domains).
        clients: who holds what.
        origin: how to find all this again; None for data put together by hand.
        pool: rows of base classes that nobody holds, for a server that trains by itself; None where there are none.
        pool_test: further rows of nobody, of base and novel classes, to judge such a server on.

    """

    train: ExampleTable
    test: ExampleTable
    base_classes: Ints
    novel_classes: Ints
    template: str
    tests: dict[str, Ints]
    clients: ClientIndex
    origin: Origin | None = None
    pool: ExampleTable | None = None
    pool_test: ExampleTable | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Words for the classes, base and novel."""
        return self.train.class_names

    @property
    def asks(self) -> bool:
        """Whether examples are questions with answers; else they are pictures with classes."""
        return self.train.asks

    @property
    def fingerprint(self) -> str:
        """Identity of the examples and of who holds them, 16 hex digits."""
        rows = (self.clients.train_rows, self.clients.val_rows, self.clients.test_rows)
        parts = [array for part in rows for array in (part.positions, part.offsets)]
        pools = [table.fingerprint for table in self._pools.values()]
        return digest(self.train.fingerprint, self.test.fingerprint, self.novel_classes, self.template, *parts, *pools)

    @property
    def _pools(self) -> dict[str, ExampleTable]:
        pools = {"pool": self.pool, "pool_test": self.pool_test}
        return {name: table for name, table in pools.items() if table is not None}

    @property
    def local_splits(self) -> tuple[str, ...]:
        """Splits of a client's own test data; see `local_rows`."""
        return ("local",)

    def local_rows(self, client: int, split: str) -> Ints:
        """A client's own test rows in one of `local_splits`."""
        return self.clients.test(client)

    def kinds(self, clients: Sequence[int]) -> dict[tuple[str, ...], list[int]]:
        """Clients by the tasks that they have, so that those of one kind own the same tensors; here all are alike."""
        return {(): list(clients)}

    def prompts(self) -> list[str]:
        """The template filled with every class name, in class order."""
        return [self.template.replace("{}", name) for name in self.class_names]

    def summary(self) -> dict[str, Any]:
        """Counts for people and run records; plain JSON values."""
        held = self.clients.train_rows.counts
        return {
            "train": len(self.train),
            "test": len(self.test),
            "base_classes": len(self.base_classes),
            "novel_classes": len(self.novel_classes),
            "domains": list(self.train.domain_names),
            "splits": {name: len(rows) for name, rows in self.tests.items()},
            "clients": len(self.clients),
            "examples_per_client": {"min": int(held.min()), "median": float(np.median(held)), "max": int(held.max())},
            "duplicates_dropped": self.origin.dropped if self.origin else 0,
            "fingerprint": self.fingerprint,
            **({"pictures": len(self.train.distinct(np.arange(len(self.train)))[0])} if self.asks else {}),
            **{name: len(table) for name, table in self._pools.items()},
        }


def build(spec: DataSpec, seed: int) -> FederatedData:
    """Open the source, select from it, share it out. The same spec and seed give the same data, position by position.

    The seed decides who holds what, what the server has of ``data.public``, the few shots, the validation parts, the
    limits and the answers of ``data.wrong``; it changes neither the pictures nor which of them are test pictures.
    Training pictures that the test part also has are dropped and counted.

    Raises:
        SynopticError: when the source cannot be read or the request cannot be met; one sentence says why.

    """
    source = open_source(spec)
    if source.shared_out is not None:
        return assemble(source, everything(source), spec, seed, source.shared_out(seed))
    selection = set_aside(source, select(source, spec, seed), spec, seed)
    train = table_of(source.train.name, source.train, selection.train_rows, selection)
    shared = _partition(source, train, selection, spec, numpy_generator(seed, "partition"))
    if spec.shots is not None:
        kept = few_shot(shared.owner, train.labels, spec.shots, numpy_generator(seed, "shots"))
        shared = Partition(shared.owner[kept], shared.clients, shared.names)
        selection = replace(selection, train_rows=selection.train_rows[kept])
        train = table_of(source.train.name, source.train, selection.train_rows, selection)
    test = table_of(source.test.name, source.test, selection.test_rows, selection)
    clients = _clients(source, train, test, selection, shared, spec, seed)
    return assemble(source, selection, spec, seed, clients)


def assemble(source: Source, selection: Selection, spec: DataSpec, seed: int, clients: ClientIndex) -> FederatedData:
    """Put the pieces together; `synoptic.data.manifest` does so with a stored selection."""
    origin = Origin(
        spec,
        seed,
        source.fingerprint,
        selection.train_rows,
        selection.test_rows,
        selection.classes,
        selection.domains,
        selection.dropped,
        selection.public_rows,
    )
    train = table_of(source.train.name, source.train, selection.train_rows, selection)
    test = table_of(source.test.name, source.test, selection.test_rows, selection)
    if source.tasks:
        from synoptic.data.tasks import TaskData, tests_by_task

        return TaskData(train, test, selection.base, selection.novel, source.template, tests_by_task(test), clients,
                        origin, tasks=source.tasks)  # fmt: skip
    pool = public_table(source, selection) or _pool(source.pool, selection.classes[selection.base], selection)
    if spec.wrong:
        train, test, pool = contradicted(train, test, pool, spec, seed)
    return FederatedData(
        train,
        test,
        selection.base,
        selection.novel,
        spec.template or source.template,
        _tests(test, selection),
        clients,
        origin,
        pool,
        _pool(source.pool_test, selection.classes, selection),
    )


def _pool(table: ExampleTable | None, classes: Ints, selection: Selection) -> ExampleTable | None:
    """The rows of nobody that are of the classes and domains in use."""
    if table is None:
        return None
    rows = rows_about(table, classes, selection.domains)
    if not len(rows):
        raise SynopticError(f"none of the {len(table)} rows of {table.name} is of a class in use", "ask for more rows")
    return table_of(table.name, table, rows, selection)


def _partition(
    source: Source, train: ExampleTable, selection: Selection, spec: DataSpec, rng: np.random.Generator
) -> Partition:
    columns = {name: values[selection.train_rows] for name, values in source.columns.items()}
    request = Request(
        spec.partition, spec.clients, train.labels, train.class_names, train.domains, train.domain_names, columns
    )
    if source.together is None:
        return partition(request, rng)
    return shared_together(request, source.together[selection.train_rows], rng, partition)


def _clients(
    source: Source, train: ExampleTable, test: ExampleTable, selection: Selection, shared: Partition, spec: DataSpec,
    seed: int,
) -> ClientIndex:  # fmt: skip
    aside = _aside(source, train, selection, shared, spec.validation, numpy_generator(seed, "validation"))
    held_out = np.flatnonzero(np.isin(test.labels, selection.base))
    train_label, test_label, train_domain, test_domain = _cells(source, train, test, selection, spec)
    test_rows = share_tests(
        shared.owner,
        shared.clients,
        train_label,
        held_out,
        test_label[held_out],
        numpy_generator(seed, "test shares"),
        train_domain,
        None if test_domain is None else test_domain[held_out],
    )
    return ClientIndex(
        Rows.grouped(np.where(aside, -1, shared.owner), shared.clients),
        Rows.grouped(np.where(aside, shared.owner, -1), shared.clients),
        test_rows,
        shared.names,
    )


def _aside(
    source: Source, train: ExampleTable, selection: Selection, shared: Partition, share: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Which training rows are for validation, bool [n]; of questions about one picture all or none."""
    if not train.asks:
        return validation(shared.owner, shared.clients, share, rng)
    units = _pictures(train) if source.together is None else source.together[selection.train_rows]
    return validation_together(shared.owner, shared.clients, share, rng, units)


def _pictures(table: ExampleTable) -> Ints:
    """The first row that shows the same picture, int64 [n]: many files hold a copy for every question."""
    _, first, place = np.unique(table.signatures(np.arange(len(table))), return_index=True, return_inverse=True)
    return np.asarray(first[place], dtype=np.int64)


def _cells(
    source: Source, train: ExampleTable, test: ExampleTable, selection: Selection, spec: DataSpec
) -> tuple[Ints, Ints, Ints | None, Ints | None]:
    """Labels and domains by which the test rows are shared out: of train, of test.

    A client who is a value of a column is asked what the test part has of that value, whatever it is about.
    """
    by = spec.partition.column if spec.partition.kind == "column" else None
    if not train.asks or by is None or by not in source.test_columns:
        return train.labels, test.labels, train.domains, test.domains
    values = [source.columns[by][selection.train_rows], source.test_columns[by][selection.test_rows]]
    codes = np.unique(np.concatenate(values), return_inverse=True)[1].astype(np.int64)
    own, held = codes[: len(train)], codes[len(train) :]
    return np.zeros_like(own), np.zeros_like(held), own, held


def _tests(test: ExampleTable, selection: Selection) -> dict[str, Ints]:
    is_base = np.isin(test.labels, selection.base)
    tests = {"global": np.arange(len(test))}
    if len(selection.novel) or not test.asks:
        tests["base"] = np.flatnonzero(is_base)
    if len(selection.novel):
        tests["novel"] = np.flatnonzero(~is_base)
    if test.domains is not None:
        for index, name in enumerate(test.domain_names):
            rows = np.flatnonzero(is_base & (test.domains == index))
            if len(rows):
                tests[f"domain/{name}"] = rows
    return tests
