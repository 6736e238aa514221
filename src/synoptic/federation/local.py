"""`LocalFederation`: all clients in this process, as stacks of K at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from synoptic.core import SynopticError
from synoptic.federation.bench import Bench
from synoptic.federation.cohort import Cohort, PersonalLeak
from synoptic.federation.message import Each, Failure, Field, Replies, collate, decode, encode, join
from synoptic.federation.personal import Personal, PersonalStore

Payload = dict[str, Field | Each]


class LocalFederation:
    """Runs a method's tasks here. Exceptions keep their traceback; nobody waits for anybody.

    Args:
        method: the object whose `task` functions are run.
        bench: the shared workbench.
        store: personal state.
        stack: clients trained as one stack.
        deadline: seconds for one ask; clients whose turn comes later are failures.
        wire: pass every message through its byte form, as a deployed run does (slower; for tests).
    """

    def __init__(
        self, method: Any, bench: Bench, store: PersonalStore, stack: int,
        deadline: float | None = None, wire: bool = False,
    ) -> None:  # fmt: skip
        self._method = method
        self._bench = bench
        self._store = store
        self._stack = stack
        self._deadline = deadline
        self._wire = wire
        self.on_progress: Callable[[str, int, int], None] | None = None

    def deliver(self, task: str, clients: Sequence[int], round_: int, payload: Payload) -> list[Replies]:
        """See `synoptic.federation.server.Federation`.

        Raises:
            SynopticError: no such task.
            Exception: whatever the task raised, when every client failed with an exception.
        """
        function = getattr(self._method, task, None)
        if not getattr(function, "__synoptic_task__", False):
            raise SynopticError(f"{type(self._method).__name__} has no task '{task}'", "mark the function with @task")
        started = time.monotonic()
        parts: list[Replies] = []
        errors: list[Exception] = []
        for first in range(0, len(clients), self._stack):
            chunk = list(clients[first : first + self._stack])
            own = {name: _share(value, first, len(chunk)) for name, value in payload.items()}
            if self._late(started):
                parts.append(self._too_late(chunk, task, round_))
            else:
                reply = self._run(function, task, chunk, round_, own, errors)
                parts.append(self._too_late(chunk, task, round_) if self._late(started) else reply)
            if self.on_progress is not None:
                self.on_progress(task, first + len(chunk), len(clients))
        if errors and not any(part.clients for part in parts):
            raise errors[0]
        return parts

    def _run(
        self, function: Any, task: str, clients: list[int], round_: int, payload: Payload, errors: list[Exception]
    ) -> Replies:
        try:
            return self._call(function, clients, round_, payload)
        except PersonalLeak:
            raise
        except Exception as error:
            if len(clients) > 1:
                # Stacked equals sequential, so asking one by one finds who failed and loses nobody else.
                alone = [self._run(function, task, [client], round_,
                                   {name: _share(value, place, 1) for name, value in payload.items()}, errors)
                         for place, client in enumerate(clients)]  # fmt: skip
                return join(alone, task, round_)
            failure = Failure(clients[0], round_, task, str(error) or type(error).__name__)
            error.add_note(f"while {failure.task} ran at client {failure.client} in round {failure.round}")
            errors.append(error)
            return Replies([], {}, [failure])

    def _call(self, function: Any, clients: list[int], round_: int, payload: Payload) -> Replies:
        scope = getattr(self._method, "personal", ())
        cohort = Cohort(clients, self._bench, Personal(self._store, clients), round_, scope)
        received = {name: _received(value, self._wire) for name, value in payload.items()}
        replies: Replies = function(cohort, **received)
        if self._wire:
            sent = [decode(encode(replies.of(place))) for place in range(len(clients))]
            replies = replace(collate(clients, sent), work=replies.work)
        cohort.personal.commit()
        return replies

    def _late(self, started: float) -> bool:
        return self._deadline is not None and time.monotonic() - started > self._deadline

    def _too_late(self, clients: list[int], task: str, round_: int) -> Replies:
        reason = f"no reply within the deadline of {self._deadline:g} s"
        return Replies([], {}, [Failure(client, round_, task, reason) for client in clients])


def _share(value: Field | Each, first: int, count: int) -> Field | Each:
    return value.part(first, count) if isinstance(value, Each) else value


def _received(value: Field | Each, wire: bool) -> Any:
    if isinstance(value, Each):
        return value.values
    return decode(encode({"value": value}))["value"] if wire else value
