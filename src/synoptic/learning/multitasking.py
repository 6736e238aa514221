"""Learning several tasks at once: losses row by row, each task by its own path through the model.

A batch mixes tasks as the client's data do, so its mean is the paper's ``sum_o (n_o / |batch|) l_o`` (TAP, arXiv
2509.26524). Rows of one task are gathered, pass the model together and go back to their places.

Legend: K clients, B rows of a batch, W rows of one task (padded to the client with most), n examples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from synoptic.core import SynopticError
from synoptic.data.tasks import TaskData
from synoptic.learning.batches import Batch
from synoptic.learning.fit import Loss, Penalty, Tensors
from synoptic.learning.objectives.contrastive import classification_loss, correct
from synoptic.learning.objectives.distill import (
    distillation,
    orthogonality,
    pixel_distillation,
    text_distillation,
)
from synoptic.learning.replacement import Held
from synoptic.learning.splits import Part, Splits, Stack, neighbours, worn
from synoptic.learning.task_rows import TaskRows
from synoptic.models.cache import Budget
from synoptic.models.multitask import MultiTask

Ints = NDArray[np.int64]
RowLoss = Callable[[Tensors, str, Ints], Tensor]
"""(worn, task, positions ``[K, W]``) -> losses ``[K, W]``."""


class MultiTasking:
    """`synoptic.learning.problem.Problem` for data of several tasks.

    Attributes:
        model: what is worn.
        train_rows, test_rows: both tables, read as far as the model is frozen.
    """

    quantities = ("accuracy", "error", "loss")

    def __init__(self, model: MultiTask, data: TaskData, cache: Budget | None) -> None:
        self.model = model
        self.train_rows = TaskRows(model, data.train, neighbours(data.clients)[0], cache)
        self.test_rows = TaskRows(model, data.test, np.arange(len(data.test)), cache)

    def loss(self) -> TaskLoss:
        """The training loss of rows of the training table."""
        return TaskLoss(self.train_rows, lambda worn, name, rows: row_losses(self.train_rows, worn, name, rows))

    def distilling(self, teacher: Tensors, weight: Mapping[str, float], temperature: float = 1.0) -> Loss:
        """The training loss plus ``weight`` times the distillation from a teacher, by task.

        Args:
            teacher: a stack of the same clients ``[K]``; nothing flows into it.
            weight: by task; those that are missing learn from their data alone.
            temperature: see `synoptic.learning.objectives.distill.distillation`.
        """

        def loss(worn: Tensors, batch: Batch) -> Tensor:
            # Clients who are done leave the stack, and the teachers of the others must stay theirs.
            places = torch.from_numpy(batch.clients)
            own = {name: tensor[places] for name, tensor in teacher.items()}

            def each(worn: Tensors, name: str, rows: Ints) -> Tensor:
                losses = row_losses(self.train_rows, worn, name, rows)
                if not weight.get(name):
                    return losses
                return losses + weight[name] * distilled(self.train_rows, worn, own, name, rows, temperature)

            return TaskLoss(self.train_rows, each)(worn, batch)

        return loss

    def apart(self, weight: float) -> Penalty:
        """``weight`` times the `orthogonality` of what stands for each (modality, task) pair of a batch.

        DisentAFL's term. It runs the model a second time, so a step costs twice as much.
        """
        rows, model = self.train_rows, self.model

        def penalty(worn: Tensors, batch: Batch) -> Tensor:
            groups, weights = [], []
            for name, _, places, real in _by_task(rows, batch):
                seen = model.features(worn, name, rows.given(worn, name, places.ravel()))
                for modality in model.task(name).modalities:
                    groups.append(seen.latent(modality).view(*places.shape, -1))
                    weights.append(real)
            return weight * orthogonality(groups, weights)

        return penalty

    @torch.no_grad()
    def score(self, stack: Stack, positions: Ints, split: str, part: Part = "test") -> dict[str, Tensor]:
        """What applies to the rows' task; see `synoptic.learning.problem.Problem.score`.

        ``accuracy`` of labels and of whole answers, ``error`` (mean squared, normalised pixels) of reconstructions,
        ``loss`` of all.

        Raises:
            SynopticError: rows of several tasks, whose scores cannot be compared.
        """
        rows, tensors = self.train_rows if part == "train" else self.test_rows, worn(stack)
        found = np.unique(rows.task(positions))
        names = [list(self.model.tasks)[index] for index in found]
        if len(names) > 1:
            raise SynopticError(f"split '{split}' holds rows of the tasks {', '.join(names)}, whose scores cannot be "
                                "compared", "score one task at a time")  # fmt: skip
        clients = clients_of(tensors)
        width = max(1, BATCH // clients)
        parts = [_scored(rows, tensors, names[0], np.tile(positions[i : i + width], (clients, 1)))
                 for i in range(0, len(positions), width)]  # fmt: skip
        return {quantity: torch.cat([part[quantity] for part in parts], dim=1) for quantity in parts[0]}

    def score_all(self, stack: Stack, splits: Splits) -> dict[str, dict[str, Tensor]]:
        """Each on its own; see `synoptic.learning.problem.Problem.score_all`."""
        return {split: self.score(stack, positions, split) for split, positions in splits.items()}

    def of_split(self, split: str) -> tuple[str, ...]:
        """What is measured of the task that a split ``local/<task>`` or ``domain/<task>`` names."""
        kind = self.model.task(split.rpartition("/")[2]).kind
        return ("error", "loss") if kind == "reconstruct" else ("accuracy", "loss")

    @cached_property
    def blind(self) -> dict[str, float]:
        """By task, what one reaches on all test rows who does not look at the input: the floor of `skill`.

        Of labels and texts the share of the most frequent answer, of pictures the error of their mean picture. Tasks
        without test rows are left out.
        """
        table, found = self.test_rows.table, {}
        assert table.words is not None
        for index, (name, task) in enumerate(self.model.tasks.items()):
            rows = np.flatnonzero(self.test_rows.task(np.arange(len(table))) == index)
            if len(rows) and task.kind == "reconstruct":
                pixels = self.test_rows.pixels(rows)
                found[name] = float((pixels - pixels.mean(0)).square().mean())
            elif len(rows):
                found[name] = max(Counter(table.words.answers[row] for row in rows).values()) / len(rows)
        return found

    def skill(self, name: str, value: float) -> float | None:
        """A task's mean accuracy or error on a scale that all tasks share.

        0 is as good as not looking at the input, 1 is perfect, below 0 is worse than not looking: ``(a - b) / (1 - b)``
        of accuracies a and `blind` b, ``1 - e / b`` of errors. None where not looking is perfect already.
        """
        floor = self.blind[name]
        if self.model.task(name).kind == "reconstruct":
            return 1 - value / floor if floor > 0 else None
        return (value - floor) / (1 - floor) if floor < 1 else None

    @torch.no_grad()
    def held(self, stack: Stack, positions: Sequence[Ints]) -> dict[str, Held]:
        """Losses of each client's own rows of the training table, by task: for decisions on held-out examples.

        Args:
            stack: ``[K]``.
            positions: each client's, of any of its tasks.
        """
        tensors, found = worn(stack), {}
        for index, name in enumerate(self.model.tasks):
            own = [rows[self.train_rows.task(rows) == index] for rows in positions]
            if any(len(rows) for rows in own):
                places, real = _side_by_side(own)
                found[name] = Held(row_losses(self.train_rows, tensors, name, places), real)
        return found


BATCH = 256
"""Rows in one forward pass where nothing is learned."""


class TaskLoss:
    """`synoptic.learning.fit.Loss` over rows of several tasks.

    Args:
        rows: of the training table.
        each: losses of rows of one task.
    """

    def __init__(self, rows: TaskRows, each: RowLoss) -> None:
        self._rows = rows
        self._each = each

    def __call__(self, worn: Tensors, batch: Batch) -> Tensor:
        """Loss ``[K, B]``; zero where a row is padding."""
        losses_KB = torch.zeros(batch.rows.shape)
        for name, mine_KB, places, real in _by_task(self._rows, batch):
            losses_KW = self._each(worn, name, places)
            losses_KB = losses_KB.masked_scatter(mine_KB, losses_KW[real > 0])
        return losses_KB


def _by_task(rows: TaskRows, batch: Batch) -> Iterator[tuple[str, Tensor, Ints, Tensor]]:
    """Each task of a batch: its rows' places there ``[K, B]`` bool, and `_side_by_side` of them."""
    tasks_KB, real_KB = rows.task(batch.rows), batch.weight.numpy() > 0
    for index, name in enumerate(rows.model.tasks):
        mine_KB = (tasks_KB == index) & real_KB
        if mine_KB.any():
            own = [some[mine] for some, mine in zip(batch.rows, mine_KB, strict=True)]
            yield name, torch.from_numpy(mine_KB), *_side_by_side(own)


def _side_by_side(rows: Sequence[Ints]) -> tuple[Ints, Tensor]:
    """Clients' rows of one task as ``[K, W]`` and which are real ``[K, W]``.

    Whoever has fewer is padded with a row that somebody has; nothing of what comes of padding is used.
    """
    width, filler = max(len(some) for some in rows), next(some[0] for some in rows if len(some))
    places = np.stack([np.concatenate([some, np.full(width - len(some), filler)]) for some in rows])
    real = torch.zeros(places.shape)
    for k, some in enumerate(rows):
        real[k, : len(some)] = 1
    return places.astype(np.int64), real


def clients_of(tensors: Tensors) -> int:
    """K of a worn stack.

    Raises:
        SynopticError: nothing is worn, and without its heads the model answers nothing.
    """
    if not tensors:
        raise SynopticError("a model of several tasks wears nothing", "give it the blocks of the task's path")
    return len(next(iter(tensors.values())))


def row_losses(rows: TaskRows, worn: Tensors, name: str, positions_KW: Ints) -> Tensor:
    """Loss ``[K, W]`` of each client's rows of one task.

    Cross-entropy of the label, mean negative log-likelihood of the answer's tokens, or mean squared error of the
    picture in normalised pixels.
    """
    model, flat = rows.model, positions_KW.ravel()
    seen, kind = model.features(worn, name, rows.given(worn, name, flat)), model.task(name).kind
    if kind == "classify":
        logits_KWC = model.logits(worn, name, seen).view(*positions_KW.shape, -1)
        return classification_loss(logits_KWC, rows.labels(name, flat).view(positions_KW.shape))
    if kind == "generate":
        said = model.writer.scores(worn, model.writing(name), seen, rows.answers(name, flat))
        return -said.mean.view(positions_KW.shape)
    error = (model.pixels(worn, name, seen) - rows.pixels(flat)).square()
    return error.flatten(1).mean(1).view(positions_KW.shape)


def distilled(
    rows: TaskRows, student: Tensors, teacher: Tensors, name: str, positions_KW: Ints, temperature: float
) -> Tensor:
    """Distance ``[K, W]`` of the student's answers from the teacher's, a mean over each row's words or pixels."""
    with torch.no_grad():
        wanted = _outputs(rows, teacher, name, positions_KW)
    said, kind = _outputs(rows, student, name, positions_KW), rows.model.task(name).kind
    if kind == "classify":
        return distillation(said, wanted, temperature)
    if kind == "generate":
        counted_NA = rows.answers(name, positions_KW.ravel()).counted
        return text_distillation(said, wanted, counted_NA.view(*positions_KW.shape, -1), temperature)
    return pixel_distillation(said, wanted)


def _outputs(rows: TaskRows, worn: Tensors, name: str, positions_KW: Ints) -> Tensor:
    """What a head gives: logits ``[K, W, C]`` or ``[K, W, A, V]``, or pictures ``[K, W, 3, H, W]``."""
    model, flat = rows.model, positions_KW.ravel()
    seen, kind = model.features(worn, name, rows.given(worn, name, flat)), model.task(name).kind
    if kind == "classify":
        found = model.logits(worn, name, seen)
    elif kind == "generate":
        found = model.writer.logits(worn, model.writing(name), seen, rows.answers(name, flat))
    else:
        found = model.pixels(worn, name, seen)
    return found.view(*positions_KW.shape, *found.shape[1:])


def _scored(rows: TaskRows, worn: Tensors, name: str, positions_KW: Ints) -> dict[str, Tensor]:
    model, flat, shape = rows.model, positions_KW.ravel(), positions_KW.shape
    kind = model.task(name).kind
    if kind == "reconstruct":
        error = row_losses(rows, worn, name, positions_KW)
        return {"error": error, "loss": error}
    seen = model.features(worn, name, rows.given(worn, name, flat))
    if kind == "generate":
        said = model.writer.scores(worn, model.writing(name), seen, rows.answers(name, flat))
        return {"accuracy": said.right.float().view(shape), "loss": -said.mean.view(shape)}
    logits_NC, labels_N = model.logits(worn, name, seen), rows.labels(name, flat)
    losses = F.cross_entropy(logits_NC, labels_N, reduction="none")
    return {"accuracy": correct(logits_NC, labels_N).float().view(shape), "loss": losses.view(shape)}
