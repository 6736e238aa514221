"""The server's side: state, the round's cohort, and `ask`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from tensordict import TensorDict

from synoptic.adapters.stack import expand
from synoptic.core import SynopticError
from synoptic.core.seeds import numpy_generator
from synoptic.federation.bench import Bench
from synoptic.federation.cohort import PersonalLeak
from synoptic.federation.joint import Joint
from synoptic.federation.ledger import EVALUATION, Ledger
from synoptic.federation.message import (
    Each,
    Failure,
    Field,
    Replies,
    Work,
    add_work,
    field_bytes,
    join,
    stacked_bytes,
)
from synoptic.federation.spec import FederationSpec
from synoptic.federation.state import State
from synoptic.federation.validate import Sent, validated
from synoptic.learning.batches import plan
from synoptic.learning.fit import Fitted, Loss, fit
from synoptic.learning.spec import TrainSpec

SERVER = -1
"""The server's number where random streams go by client."""


class Federation(Protocol):
    """Whatever carries a task to clients and brings back their replies."""

    def deliver(
        self, task: str, clients: Sequence[int], round_: int, payload: dict[str, Field | Each]
    ) -> list[Replies]:
        """Ask each client to do ``task``; failures stand beside the results.

        Replies come in parts (one for each stack or node), because nobody has checked yet that they fit together.
        """
        ...


class RoundFailed(SynopticError):
    """Too few clients answered. The round goes by without a change."""


class Server:
    """What a method's server code sees. There is no socket, process or device in it.

    Attributes:
        state: named adapters, tensors and scalars that survive between rounds.
        round: the current round, counted from 0.
        failures: clients whose replies were missing or refused in this round.
        log: numbers that the method wants in the round's event.
        waited: seconds spent waiting for clients.
        work: what training took: ``steps`` and ``examples`` of all clients; a method that trains on the server adds
            ``server_steps`` and ``server_examples``.
    """

    def __init__(self, bench: Bench, federation: Federation, spec: FederationSpec) -> None:
        self.bench = bench
        self.model = bench.model
        self.state = State()
        self.ledger = Ledger()
        self.round = 0
        self.failures: list[Failure] = []
        self.log: dict[str, float] = {}
        self.waited = 0.0
        self.work: Work = {"steps": 0.0, "examples": 0.0}
        self._federation = federation
        self._spec = spec
        self._joint: Joint | None = None

    @property
    def clients(self) -> int:
        """How many clients there are."""
        return len(self.bench.data.clients)

    @property
    def sampled(self) -> list[int]:
        """The round's cohort, ascending: drawn without replacement from a stream named by the round."""
        count = self._spec.cohort_size(self.clients)
        if count == self.clients:
            return list(range(count))
        rng = numpy_generator(self.bench.seed, "cohort", self.round)
        return sorted(int(client) for client in rng.choice(self.clients, count, replace=False))

    def new_adapter(self) -> TensorDict:
        """A fresh adapter as the recipe describes it; its update is zero."""
        return self.bench.new_adapter()

    def ask(
        self, task: str, to: Sequence[int] | None = None, fewest: int | None = None, **payload: Field | Each
    ) -> Replies:
        """Ask clients to do a task, and wait for their replies.

        Args:
            task: the name of one of the method's tasks.
            to: which clients; this round's cohort when left out.
            fewest: how many valid replies are enough, where that is not for the recipe to say.
            payload: what they need. Wrap a value in `Each` to send every client its own.

        Returns:
            Valid replies in client order, failures beside them.

        Raises:
            RoundFailed: fewer valid replies than the recipe's ``federation.min_replies``, or than ``fewest``; not
                inside `as_one`.
        """
        clients, payload = self._addressed(to, payload)
        for name, field in payload.items():
            sizes = [field_bytes(field[place]) for place in range(len(clients))] if isinstance(field, Each) else None
            self.ledger.add("down", task, name, sum(sizes) if sizes is not None else _plain(field) * len(clients))
        started = time.perf_counter()
        parts = self._delivered(task, clients, payload)
        self.waited += time.perf_counter() - started
        for part in parts:
            add_work(self.work, part.work)
            for name, replied in part.fields.items():
                self.ledger.add("up", task, name, stacked_bytes(replied))
        sent = Sent(clients, payload)
        trusted = [validated(part, sent, task, self.round, self._spec.max_update_norm) for part in parts]
        replies = join(trusted, task, self.round)
        self.failures += replies.failures
        self._enough(task, len(clients), replies, fewest)
        return replies

    def refuse(
        self, replies: Replies, task: str, odd: Callable[[int, dict[str, Field]], str | None], fewest: int | None = None
    ) -> Replies:
        """Leave out replies in which a method finds something wrong that the general checks cannot know.

        Args:
            replies: from `ask`.
            task: what had been asked.
            odd: (client, its fields) -> what is wrong with them, or None.
            fewest: as `ask` takes it.

        Raises:
            RoundFailed: fewer valid replies than the recipe's ``federation.min_replies``, or than ``fewest``.
        """
        reasons = [odd(client, replies.of(place)) for place, client in enumerate(replies.clients)]
        if not any(reasons):
            return replies
        failures = [
            Failure(client, self.round, task, reason)
            for client, reason in zip(replies.clients, reasons, strict=True)
            if reason
        ]
        self.failures += failures
        kept = replies.keep([place for place, reason in enumerate(reasons) if not reason], failures)
        self._enough(task, len(replies) + len(replies.failures), kept, fewest)
        return kept

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """If too few clients answer, the state and the log are as they were before; work and bytes were spent."""
        state, log = self.state.copy(), dict(self.log)
        try:
            yield
        except RoundFailed:
            self.state.put_back(state)
            self.log = log
            raise

    @contextmanager
    def as_one(self) -> Iterator[None]:
        """Count several asks as one for ``federation.min_replies``: groups of clients that are asked different things.

        Any of them may come back without a reply; then it has no fields.

        Raises:
            RoundFailed: too few valid replies of all clients together, whoever failed once counting as missing.
            Exception: whatever a task raised, when nobody at all answered.
        """
        self._joint = joint = Joint()
        try:
            yield
        finally:
            self._joint = None
        if joint.errors and not joint.answered:
            raise joint.errors[0]
        if joint.asked:
            answers = Replies(sorted(joint.answered), {}, joint.failures)
            self._enough(joint.task, len(joint.asked), answers)

    def fit(self, start: TensorDict, examples: int, loss: Loss, train: TrainSpec) -> Fitted:
        """Training on the server: `Cohort.fit` for one adapter and ``examples`` rows that ``loss`` knows by number.

        The work is counted as ``server_steps`` and ``server_examples``.
        """
        steps = plan(np.arange(examples), train, self.bench.seed, self.round, SERVER)
        fitted = fit(expand(start, 1), [steps], loss, train, train.rate(self.round, self.bench.rounds))
        seen = sum(len(rows) for rows in steps)
        add_work(self.work, {"server_steps": float(fitted.steps.sum()), "server_examples": float(seen)})
        return fitted

    def _addressed(
        self, to: Sequence[int] | None, payload: dict[str, Field | Each]
    ) -> tuple[list[int], dict[str, Field | Each]]:
        """The asked clients, ascending, and the payload with every `Each` in that order."""
        if to is None:
            return self.sampled, payload
        odd = [client for client in to if not 0 <= client < self.clients]
        if odd or len(set(to)) < len(to):
            raise SynopticError(f"clients {list(to)} cannot be asked: there are {self.clients}, counted from 0",
                                "name each client once")  # fmt: skip
        order = sorted(range(len(to)), key=to.__getitem__)
        own = {name: value.pick(order) if isinstance(value, Each) else value for name, value in payload.items()}
        return [to[place] for place in order], own

    def _delivered(self, task: str, clients: list[int], payload: dict[str, Field | Each]) -> list[Replies]:
        try:
            return self._federation.deliver(task, clients, self.round, payload)
        except PersonalLeak:
            raise
        except Exception as error:
            if self._joint is None:
                raise
            # That all clients of one ask raise is a mistake of the method only if those of the others do too.
            self._joint.errors.append(error)
            reason = str(error) or type(error).__name__
            return [Replies([], {}, [Failure(client, self.round, task, reason) for client in clients])]

    def _enough(self, task: str, asked: int, replies: Replies, fewest: int | None = None) -> None:
        if self._joint is not None:
            self._joint.take(task, replies)
            return
        needed = self._spec.fewest_replies(asked) if fewest is None else fewest
        if task != EVALUATION and len(replies) < needed:
            reasons = "; ".join(str(failure) for failure in replies.failures[:3])
            got = f"{len(replies)} valid replies of {asked} and needs {needed}"
            raise RoundFailed(f"round {self.round} got {got} ({reasons})",
                              "mend those clients or lower federation.min_replies")  # fmt: skip


def _plain(field: Field | Each) -> int:
    assert not isinstance(field, Each)
    return field_bytes(field)
