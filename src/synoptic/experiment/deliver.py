"""What a run leaves for use elsewhere: adapters in PEFT's folder format, and what they are about."""

from __future__ import annotations

from pathlib import Path

from tensordict import TensorDict

from synoptic.adapters.peft_io import Words, export_peft
from synoptic.core.files import write_json
from synoptic.data.federated import FederatedData
from synoptic.data.tasks import Task
from synoptic.experiment.delivered import ABOUT, About, Sizes, folder_name
from synoptic.federation.bench import Bench
from synoptic.federation.cohort import Cohort
from synoptic.federation.personal import Personal, PersonalStore
from synoptic.federation.server import Server
from synoptic.methods.base import Method
from synoptic.models.multitask.saved import save_blocks


def export_adapters(folder: Path, method: Method, server: Server, store: PersonalStore) -> list[Path]:
    """Write ``shared/`` and, where clients have their own models, ``personal/<client>/``; then ``about.json``.

    Returns:
        The folders written.
    """
    written: list[Path] = []
    shared = method.shared_model(server) if method.has_shared else None
    bench = server.bench
    words = words_of(bench.data)
    if shared is not None:
        _write(shared, folder / "shared", bench, words)
        written.append(folder / "shared")
    clients = store.clients() if method.has_personal else []
    sent = method.broadcast(server)
    written += [_export_personal(folder, method, server, store, client, sent, words) for client in clients]
    about = About(
        method=method.summary, pools_data=method.pools_data, words=words, tasks=tasks_of(bench),
        sizes=sizes_of(bench.data),
        shared=shared is not None, personal={client: bench.data.clients.name(client) for client in clients},
    )  # fmt: skip
    write_json(folder / ABOUT, about.model_dump(mode="json"))
    return written


def words_of(data: FederatedData) -> Words | None:
    """Class names, which of them are novel, and the prompt; None for questions and for several tasks."""
    if data.asks:
        return None
    novel = tuple(data.class_names[index] for index in data.novel_classes)
    return Words(classes=data.class_names, novel=novel, template=data.template)


def tasks_of(bench: Bench) -> tuple[Task, ...]:
    """All tasks of clients who have different ones."""
    return () if bench.tasking is None else tuple(bench.tasking.model.tasks.values())


def sizes_of(data: FederatedData) -> Sizes:
    """How much data there is, without saying who holds it."""
    summary = data.summary()
    held = summary["examples_per_client"]
    named = data.clients.names is not None
    return Sizes(
        train=summary["train"], test=summary["test"], clients=summary["clients"], fewest=held["min"],
        median=held["median"], most=held["max"], dropped=summary["duplicates_dropped"],
        domains=len(summary["domains"]), domain_names=() if named else tuple(summary["domains"]),
    )  # fmt: skip


def _export_personal(
    folder: Path, method: Method, server: Server, store: PersonalStore, client: int, sent: TensorDict | None,
    words: Words | None,
) -> Path:  # fmt: skip
    bench = server.bench
    cohort = Cohort([client], bench, Personal(store, [client]), server.round)
    stack = method.personal_model(cohort, sent)
    assert stack is not None, f"{type(method).__name__} has personal models but gave none"
    path = folder / "personal" / folder_name(bench.data.clients.name(client))
    _write(stack[0], path, bench, words)
    return path


def _write(one: TensorDict, folder: Path, bench: Bench, words: Words | None) -> None:
    """In PEFT's format; blocks of a model of several tasks, for which PEFT has no names, in ours."""
    if bench.tasking is None:
        export_peft(one, folder, bench.model, words)
    else:
        save_blocks(one, folder, bench.tasking.model)
