"""The client's side: K >= 1 clients who train together, their data, personal state and random streams.

Legend: K clients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.stack import expand, leaves
from synoptic.core import SynopticError
from synoptic.core.seeds import generator
from synoptic.federation.bench import Bench
from synoptic.federation.message import Replies, Stacked, Work, add_work
from synoptic.federation.personal import Personal
from synoptic.learning.batches import plan
from synoptic.learning.classifier import ClassificationLoss, image_embeddings
from synoptic.learning.fit import Fitted, Loss, Penalty, Watch, fit, watched
from synoptic.learning.spec import TrainSpec

Function = TypeVar("Function", bound=Callable[..., Any])


def task(function: Function) -> Function:
    """Mark a method's function as something a client may be asked to do."""
    function.__synoptic_task__ = True  # type: ignore[attr-defined]
    return function


class Cohort:
    """K clients as a task sees them. A task must not care whether K is one or many.

    Args:
        clients: their numbers.
        bench: the shared workbench.
        personal: their personal state.
        round_: which round it is.
        scope: name patterns of tensors that are personal by declaration (`Method.personal`).
    """

    def __init__(
        self, clients: Sequence[int], bench: Bench, personal: Personal, round_: int, scope: Sequence[str] = ()
    ) -> None:
        self.clients = list(clients)
        self.bench = bench
        self.model = bench.model
        self.personal = personal
        self.round = round_
        self.work: Work = {}
        self._scope = tuple(scope)
        # What was trained from a broadcast alone. A client who is alone with its data may find the same values again
        # that it once took over for itself, and these are no secret. Held, so that their addresses stay theirs, with
        # how often they had been written to, since a task may write something else into them.
        self._trained: dict[int, tuple[Tensor, int]] = {}

    def __len__(self) -> int:
        return len(self.clients)

    def part(self, places: Sequence[int]) -> Cohort:
        """Some of these clients, by their places here, with the same personal state; their work is counted here."""
        part = Cohort([self.clients[place] for place in places], self.bench, self.personal.part(places), self.round,
                      self._scope)  # fmt: skip
        part.work = self.work
        return part

    @property
    def positions(self) -> list[NDArray[np.int64]]:
        """Each client's training examples: positions in the training table."""
        return [self.bench.data.clients.train(client) for client in self.clients]

    @property
    def examples(self) -> Tensor:
        """Number of training examples ``[K]``: the usual weight."""
        return torch.tensor([float(len(positions)) for positions in self.positions])

    @property
    def rows(self) -> dict[str, Tensor]:
        """Where clients have several tasks, the reply field ``rows``: training examples of each ``[K, O]``."""
        tasking = self.bench.tasking
        if tasking is None:
            return {}
        (names,) = self.bench.data.kinds(self.clients)
        places = [list(tasking.model.tasks).index(name) for name in names]
        held = [tasking.train_rows.task(positions) for positions in self.positions]
        return {"rows": torch.tensor([[float((tasks == place).sum()) for place in places] for tasks in held])}

    def generator(self, client: int, purpose: str) -> torch.Generator:
        """The random stream of one client (by number) for one purpose in this round."""
        return generator(self.bench.seed, purpose, self.round, client)

    @property
    def labels(self) -> list[Tensor]:
        """Where each client's examples' classes stand among the base classes, in as few bytes as these allow."""
        classes = self.bench.data.base_classes
        kind = torch.int16 if len(classes) <= torch.iinfo(torch.int16).max else torch.int32
        return [self.classification().targets(positions).to(kind) for positions in self.positions]

    def classification(self, texts: Tensor | None = None) -> ClassificationLoss:
        """Cross-entropy of images against the names of all base classes.

        Args:
            texts: embeddings of these names ``[C, E]``, where the server computes them.
        """
        return self.bench.classification.loss(texts)

    def embeddings(self, worn: TensorDict | None) -> list[Tensor]:
        """Normalised embeddings ``[n_k, E]`` of each client's training images.

        Args:
            worn: one adapter for all, a stack ``[K]``, or None for the untouched base.
        """
        stack = expand(worn, len(self)) if worn is not None and not worn.batch_dims else worn
        tensors = leaves(stack) if stack is not None else {}
        return image_embeddings(self.bench.classifier, self.bench.train_rows, tensors, self.positions)

    def fit(
        self, start: TensorDict, loss: Loss | None = None, penalty: Penalty | None = None,
        trainable: str | Sequence[str] = "*", train: TrainSpec | Sequence[TrainSpec] | None = None,
        watch: Watch | None = None,
    ) -> Fitted:  # fmt: skip
        """Local training from one adapter for all (batch size ``[]``) or from a stack ``[K]``.

        Args:
            start: where to start; left unchanged.
            loss: that of the bench's problem when left out.
            penalty: an extra term, such as `synoptic.learning.objectives.proximal.proximal`.
            trainable: name patterns of what may move.
            train: other epochs or steps than the recipe's, for all clients or for each.
            watch: told every row's loss at each step.
        """
        bench = self.bench
        plain = loss is None and penalty is None and not start.batch_dims and not self.personal.holds(start)
        stack = start if start.batch_dims else expand(start, len(self))
        train = train or bench.train
        specs = [train] * len(self) if isinstance(train, TrainSpec) else train
        plans = [
            plan(positions, spec, bench.seed, self.round, client)
            for client, positions, spec in zip(self.clients, self.positions, specs, strict=True)
        ]
        rate = bench.train.rate(self.round, bench.rounds)
        loss = loss or bench.problem.loss()
        fitted = fit(
            stack, plans, loss if watch is None else watched(loss, watch), bench.train, rate, trainable, penalty
        )
        if plain:
            self._trained |= {tensor.untyped_storage().data_ptr(): (tensor, tensor._version)
                              for tensor in leaves(fitted.stack).values()}  # fmt: skip
        seen = sum(len(rows) for steps in plans for rows in steps)
        add_work(self.work, {"steps": float(fitted.steps.sum()), "examples": float(seen)})
        return fitted

    def reply(self, **fields: Stacked) -> Replies:
        """What goes back to the server, one row for each client.

        Raises:
            SynopticError: a field without one row per client, or with a personal tensor in it.
        """
        for name, field in fields.items():
            if len(field) != len(self):
                raise SynopticError(f"reply field '{name}' has {len(field)} rows for {len(self)} clients",
                                    "give one row for each client of the cohort")  # fmt: skip
            for place in range(len(self)):
                self._refuse_personal(name, field, place)
        return Replies(self.clients, {name: _detached(field) for name, field in fields.items()}, [], self.work)

    def _refuse_personal(self, name: str, field: Stacked, place: int) -> None:
        one = field[place]
        if isinstance(one, TensorDict):
            parts = {f"{name}/{key}": tensor for key, tensor in leaves(one).items()}
        else:
            parts = {name: one}
        for key, tensor in parts.items():
            declared = any(fnmatchcase(key.partition("/")[2] or key, pattern) for pattern in self._scope)
            leaked = key if declared else self.personal.leak(place, tensor, self._of_broadcast(tensor))
            if leaked is not None:
                raise PersonalLeak(f"reply field '{key}' of client {self.clients[place]} is personal ('{leaked}') "
                                   "and may not leave the client", "reply with shared tensors only")  # fmt: skip

    def _of_broadcast(self, tensor: Tensor) -> bool:
        trained, version = self._trained.get(tensor.untyped_storage().data_ptr(), (None, 0))
        return trained is not None and trained._version == version


class PersonalLeak(SynopticError):
    """A task tried to send what belongs to the client. A mistake of the method, so it stops the run."""


def _detached(field: Stacked) -> Stacked:
    if isinstance(field, list):
        return [one.detach() for one in field]
    return field.detach()
