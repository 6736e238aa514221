"""TAP: two-stage adaptive personalization (Lee et al. 2025, arXiv 2509.26524), as reconstructed.

Clients have different tasks. Each trains the federated blocks of its tasks, which are averaged block by block, and a
personal model X of the same blocks, which never leaves. Stage 1, in every round: where the federated copy does better
at a task o than X did, by a margin, ``h_l[o] + m[o] < h_p[o]``, X takes over all blocks on the path of o. Stage 2,
after the last round: X learns from its data and from the federated model, ``L + lambda KL(teacher, X)``.

``method.decide=paired``, ``method.replace=soft`` and ``method.settle`` are ours: they decide on validation examples.

Legend: K clients of one kind, O tasks that they have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.stack import expand, leaves
from synoptic.core import SynopticError
from synoptic.core.errors import nearest
from synoptic.federation.kinds import ask_kinds, averaged, mean_loss
from synoptic.learning.fit import Fitted
from synoptic.learning.multitasking import MultiTasking
from synoptic.learning.replacement import (
    Measure,
    blocks_to_replace,
    by_margin,
    moved,
    paired,
    replaced,
    rolled_back,
    soft_steps,
)
from synoptic.learning.task_tally import Known, Tally, known_of
from synoptic.methods.base import Cohort, Method, Replies, Server, task
from synoptic.methods.finetune import passes
from synoptic.methods.tap_settings import TAPSettings

MODEL, LOSS, SEEN = "model", "loss", "seen"
"""What a client keeps: X, its loss of each task, and of which tasks it has one."""

Steps = dict[str, Tensor]
"""How far each block moves from X to the federated copy, ``[K]`` by block."""


class TAP(Method):
    """FedAvg block by block, and personal models that take over what is better."""

    class Settings(TAPSettings):
        """When personal models take over what, and what follows."""

    summary = "different tasks; personal models take over what is better (TAP, Lee et al. 2025)"
    has_personal = True
    several_tasks = True
    tasks_only = True
    defaults: ClassVar = {"data.source": "tasks"}

    # -- the server -------------------------------------------------------------------------------------------------

    def begin(self, server: Server) -> None:
        """Start from fresh blocks.

        Raises:
            SynopticError: a margin of a task that nobody has, or decisions on validation examples that nobody has.
        """
        tasks = _tasking(server).model.tasks
        unknown = [name for name in self.settings.margins if name not in tasks]
        if unknown:
            raise SynopticError(f"method.margins names '{unknown[0]}', which is nobody's task",
                                nearest(unknown[0], tasks))  # fmt: skip
        asks = "method.decide=paired" if self.settings.decide == "paired" else "method.settle"
        if (self.settings.settle or self.settings.decide == "paired") and not _validation(server):
            raise SynopticError(f"{asks} compares models on validation examples, and no client has any",
                                "set data.tasks.validation=0.2, or leave it out")  # fmt: skip
        server.state.adapter = server.new_adapter()

    def round(self, server: Server, t: int) -> None:
        """Broadcast, train, average; what clients take over stays with them, and only how often is told."""
        parts = ask_kinds(server, "train", adapter=server.state.adapter)
        server.state.adapter = averaged(server, server.state.adapter, parts)
        server.log["loss"] = mean_loss(parts)
        taken = _taken_over(server, parts)
        server.log["replaced"] = sum(taken.values())
        server.log |= {f"replacements/{name}": count for name, count in taken.items()}

    def end(self, server: Server) -> None:
        """Stage 2, once, for everybody."""
        if self.settings.distil.epochs or self.settings.settle:
            ask_kinds(server, "distil", to=range(server.clients), adapter=server.state.adapter)

    # -- the clients ------------------------------------------------------------------------------------------------

    @task
    def train(self, cohort: Cohort, adapter: TensorDict) -> Replies:
        """Train the federated copy, let X take over what it does better, train X; the copy leaves and X stays."""
        copy, federated = self._fitted(cohort, adapter)
        own = self._own(cohort)
        steps = self._by_margin(cohort, federated) if federated is not None else self._by_pairs(cohort, own, copy.stack)
        mine, personal = self._fitted(cohort, moved(own, copy.stack, steps))
        reply = cohort.reply(adapter=copy.stack, examples=cohort.examples, loss=copy.loss,
                             replaced=_whole_paths(cohort, steps), **cohort.rows)  # fmt: skip
        cohort.personal[MODEL] = mine.stack
        if personal is not None:
            kept = personal.after(_kept(cohort))
            cohort.personal[LOSS], cohort.personal[SEEN] = kept.mean, kept.there.float()
        return reply

    @task
    def distil(self, cohort: Cohort, adapter: TensorDict) -> Replies:
        """Train X on the client's data and towards the federated model, which may be tuned to the client before."""
        s, plain = self.settings.distil, cohort.bench.train
        student, loss_K = self._student(cohort, adapter), torch.zeros(len(cohort))
        federated = teacher = expand(adapter, len(cohort))
        if s.epochs:
            if s.teacher_epochs and s.weight:
                teacher = cohort.fit(teacher, train=passes(plain, s.teacher_epochs)).stack
            weights = dict.fromkeys(_names(cohort), s.weight)
            loss = _tasking(cohort).distilling(leaves(teacher), weights, s.temperature)
            fitted = cohort.fit(student, loss, train=passes(plain, s.epochs))
            student, loss_K = fitted.stack, fitted.loss
        if self.settings.settle:
            student = self._settled(cohort, student, federated)
        reply = cohort.reply(examples=cohort.examples, loss=loss_K)
        cohort.personal[MODEL] = student
        return reply

    def personal_model(self, cohort: Cohort, shared: TensorDict | None) -> TensorDict | None:
        """Each client's X."""
        return self._own(cohort)

    def newcomer(self, cohort: Cohort, shared: TensorDict | None) -> tuple[TensorDict, list[str]] | None:
        """A copy of the federated blocks: what somebody takes over who takes part for the first time."""
        return None if shared is None else (expand(shared, len(cohort)), ["*"])

    def _own(self, cohort: Cohort) -> TensorDict:
        """X ``[K]``; at first everybody's fresh blocks, as `synoptic.methods.local` has them."""
        return cohort.personal.adapter(MODEL, cohort.bench.new_adapter(cohort.clients))

    def _student(self, cohort: Cohort, adapter: TensorDict) -> TensorDict:
        """X as it is, and of clients who never took part what a first part would have given them."""
        if self.settings.distil.start == "federated":
            return expand(adapter, len(cohort))
        fresh = self.settings.first == "replace" and self.settings.margin < torch.inf
        return cohort.personal.adapter(MODEL, adapter) if fresh else self._own(cohort)

    def _fitted(self, cohort: Cohort, start: TensorDict) -> tuple[Fitted, Known | None]:
        """Local training, and where margins decide the mean loss of each task while training or after it."""
        tasking, names = _tasking(cohort), _names(cohort)
        if self.settings.decide != "margin":
            return cohort.fit(start), None
        if self.settings.order == "paper":
            tally = Tally(tasking.train_rows, names, len(cohort))
            return cohort.fit(start, watch=tally), tally.known
        fitted = cohort.fit(start)
        return fitted, known_of(tasking.held(fitted.stack, cohort.positions), names)

    def _settled(self, cohort: Cohort, own: TensorDict, federated: TensorDict) -> TensorDict:
        """X moved to the federated model, each block as far as lowers the joint loss on validation examples."""
        measure = _held_out(cohort)
        if not measure(own):
            return own
        return moved(own, federated, soft_steps(own, federated, measure, self.settings.sure))

    # -- what is taken over -----------------------------------------------------------------------------------------

    def _by_margin(self, cohort: Cohort, federated: Known) -> Steps:
        """All blocks on the path of each task at which the copy's loss is lower by more than the margin."""
        s, names, kept = self.settings, _names(cohort), _kept(cohort)
        margins = torch.tensor([s.margins.get(name, s.margin) for name in names])
        lower = by_margin(federated.mean, kept.mean, margins, kept.there, s.first) & federated.there
        chosen = blocks_to_replace(_paths(cohort), dict(zip(names, lower.unbind(1), strict=True)), {})
        return {block: take.float() for block, take in chosen.items()}

    def _by_pairs(self, cohort: Cohort, own: TensorDict, copy: TensorDict) -> Steps:
        """What does better on the same validation examples, by more than noise, and makes no task worse."""
        measure, sure = _held_out(cohort), self.settings.sure
        before = measure(own)
        if not before:
            return {}
        if self.settings.replace == "soft":
            return soft_steps(own, copy, measure, sure)
        changes = {name: paired(before[name], after) for name, after in measure(copy).items()}
        better = {name: change.better(sure) for name, change in changes.items()}
        chosen = blocks_to_replace(_paths(cohort), better, {name: one.worse(sure) for name, one in changes.items()})
        mixed = measure(replaced(own, copy, chosen))
        kept = rolled_back(chosen, {name: paired(before[name], one).worse(sure) for name, one in mixed.items()})
        return {block: take.float() for block, take in kept.items()}


def _tasking(where: Server | Cohort) -> MultiTasking:
    tasking = where.bench.tasking
    if tasking is None:
        raise SynopticError("tap is for clients with different tasks, and here all have the same", "set data=tasks")
    return tasking


def _validation(server: Server) -> bool:
    return bool(server.bench.data.clients.val_rows.counts.any())


def _held_out(cohort: Cohort) -> Measure:
    """Losses of models ``[K]`` on each client's validation examples."""
    aside = [cohort.bench.data.clients.val(client) for client in cohort.clients]
    return lambda stack: _tasking(cohort).held(stack, aside)


def _names(cohort: Cohort) -> tuple[str, ...]:
    """The tasks that all clients of the cohort have."""
    (names,) = cohort.bench.data.kinds(cohort.clients)
    return names


def _paths(cohort: Cohort) -> dict[str, tuple[str, ...]]:
    return {name: _tasking(cohort).model.path(name) for name in _names(cohort)}


def _kept(cohort: Cohort) -> Known:
    """Losses of X when it was last trained."""
    none = torch.zeros(len(_names(cohort)))
    mean, seen = (cohort.personal.get(name, none) for name in (LOSS, SEEN))
    assert isinstance(mean, Tensor)
    assert isinstance(seen, Tensor)
    return Known(mean, seen > 0)


def _whole_paths(cohort: Cohort, steps: Steps) -> Tensor:
    """At which tasks all of the path was taken over, if only in part, ``[K]``: 1 for the first, 2, 4, ... added up.

    One number for each client, which is exact for up to 24 tasks.
    """
    still = torch.zeros(len(cohort))
    taken = [torch.stack([steps.get(block, still) > 0 for block in path]).all(0) for path in _paths(cohort).values()]
    return sum((some * 2.0**place for place, some in enumerate(taken)), still)


def _taken_over(server: Server, parts: Sequence[Replies]) -> dict[str, float]:
    """How many clients took over the path of each task."""
    counts = dict.fromkeys(_tasking(server).model.tasks, 0.0)
    for part in parts:
        (names,) = server.bench.data.kinds(part.clients)
        for place, name in enumerate(names):
            counts[name] += float((part.replaced.long() >> place & 1).sum())
    return counts
