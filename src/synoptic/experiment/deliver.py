"""What a run leaves for use elsewhere: adapters in PEFT's folder format."""

from __future__ import annotations

from pathlib import Path

from synoptic.adapters.peft_io import export_peft
from synoptic.federation.bench import Bench
from synoptic.federation.cohort import Cohort
from synoptic.federation.personal import Personal, PersonalStore
from synoptic.federation.server import Server
from synoptic.methods.base import Method


def export_adapters(folder: Path, method: Method, server: Server, store: PersonalStore) -> list[Path]:
    """Write ``shared/`` and, where clients have their own models, ``personal/<client>/``.

    Returns:
        The folders written.
    """
    written: list[Path] = []
    shared = method.shared_model(server) if method.has_shared else None
    bench = server.bench
    if shared is not None:
        export_peft(shared, folder / "shared", bench.model)
        written.append(folder / "shared")
    if method.has_personal:
        written += [_export_personal(folder, method, bench, store, client, server.round) for client in store.clients()]
    return written


def _export_personal(
    folder: Path, method: Method, bench: Bench, store: PersonalStore, client: int, round_: int
) -> Path:
    cohort = Cohort([client], bench, Personal(store, [client]), round_)
    stack = method.personal_model(cohort, None)
    assert stack is not None, f"{type(method).__name__} has personal models but gave none"
    path = folder / "personal" / bench.data.clients.name(client)
    export_peft(stack[0], path, bench.model)
    return path
