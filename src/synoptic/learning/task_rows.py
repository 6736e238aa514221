"""Rows of several tasks, read once as far as the model is frozen: pictures, texts and what is right.

Legend: N rows (client-major), T tokens.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synoptic.core import SynopticError
from synoptic.core.files import digest
from synoptic.data.table import ExampleTable
from synoptic.data.tasks import Modality, targets, task_of
from synoptic.learning.classifier import ImageRows
from synoptic.learning.fit import Tensors
from synoptic.models.cache import Budget, PrefixCache
from synoptic.models.multitask import MultiTask
from synoptic.models.multitask.backbone import Prefix, all_real
from synoptic.models.multitask.model import text_mask
from synoptic.models.multitask.writer import Answers
from synoptic.models.towers import Tokens

Ints = NDArray[np.int64]


class TaskRows:
    """Frozen prefixes and targets of one table.

    Args:
        model: its tasks are the table's domains, in their order.
        table: rows of all tasks.
        order: positions that will be asked for, neighbours together.
        budget: memory for caches; None computes prefixes anew each time.

    Raises:
        SynopticError: a row without the text that its task reads.
    """

    def __init__(self, model: MultiTask, table: ExampleTable, order: Ints, budget: Budget | None) -> None:
        assert table.words is not None, "rows of tasks have words"
        self.model = model
        self.table = table
        self._budget = budget
        self._task = task_of(table, np.arange(len(table)))
        tasks = list(model.tasks.values())
        self._images = ImageRows(model.base, table, self._reading(order, "image"), budget)
        self._text_order = self._reading(order, "text")
        self._place = np.full(len(table), -1, dtype=np.int64)
        self._place[self._text_order] = np.arange(len(self._text_order))
        asked = [table.words.questions[row] for row in self._text_order]
        self._check_texts(asked)
        self._tokens = model.base.tokenize(asked) if asked else None
        self._texts: dict[int, PrefixCache] = {}
        self._labels = {task.name: torch.from_numpy(targets(table, task, index))
                        for index, task in enumerate(tasks) if task.kind == "classify"}  # fmt: skip
        self._said = {task.name: self._answers(index) for index, task in enumerate(tasks) if task.kind == "generate"}

    def task(self, positions: Ints) -> Ints:
        """Each row's task, a place among the model's; the shape of ``positions``."""
        return self._task[positions]

    def given(self, worn: Tensors, name: str, positions: Ints) -> dict[Modality, Prefix]:
        """What the frozen part makes of what a task reads of rows ``[N]``."""
        found: dict[Modality, Prefix] = {}
        for modality in self.model.task(name).modalities:
            depth = self.model.depth(worn, modality)
            if modality == "image":
                hidden = self._images.prefix(positions, depth)
                found["image"] = all_real(hidden)
            else:
                found["text"] = self._text(positions, depth)
        return found

    def labels(self, name: str, positions: Ints) -> Tensor:
        """Where each row's answer stands among the labels of a task that classifies, ``[N]``."""
        return self._labels[name][positions]

    def answers(self, name: str, positions: Ints) -> Answers:
        """What each row answers, of a task that writes."""
        answers, place = self._said[name]
        return answers.take(torch.from_numpy(place[positions]))

    def pixels(self, positions: Ints) -> Tensor:
        """Pictures in normalised pixels ``[N, 3, H, W]``."""
        return self.model.base.pixels(self.table.images.load(positions))

    def _check_texts(self, asked: list[str]) -> None:
        blank = next((place for place, text in enumerate(asked) if not text.strip()), None)
        if blank is not None:
            row = self._text_order[blank]
            name = list(self.model.tasks)[self._task[row]]
            raise SynopticError(f"row {row} of {self.table.name} has no text, and its task '{name}' reads one",
                                "fill it in, or leave the row out")  # fmt: skip

    def _reading(self, order: Ints, modality: Modality) -> Ints:
        reads = np.array([modality in task.modalities for task in self.model.tasks.values()])
        found: Ints = order[reads[self._task[order]]]
        return found

    def _text(self, positions: Ints, depth: int) -> Prefix:
        tokens = self._some(self._place[positions])
        # Texts are padded to the longest of the table; nobody needs what stands behind the longest of these.
        width = int(text_mask(tokens).sum(1).max())
        if self._budget is None:
            hidden_NTD = self.model.base.text_prefix(tokens, depth)
        else:
            hidden_NTD = self._cache(depth).fetch(positions)
        return Prefix(hidden_NTD[:, :width], text_mask(tokens)[:, :width])

    def _some(self, places: Ints) -> Tokens:
        assert self._tokens is not None, "no task here reads text"
        rows = torch.from_numpy(places)
        return Tokens(self._tokens.ids_NT[rows], self._tokens.pool_N[rows])

    def _cache(self, depth: int) -> PrefixCache:
        if depth not in self._texts:
            assert self._budget is not None

            def compute(positions: Ints) -> Tensor:
                return self.model.base.text_prefix(self._some(self._place[positions]), depth)

            base = self.model.base
            key = digest(base.fingerprint, str(base.half), "text", str(depth), self.table.fingerprint)
            self._texts[depth] = PrefixCache(key, compute, self._text_order, self._budget)
        return self._texts[depth]

    def _answers(self, index: int) -> tuple[Answers, Ints]:
        assert self.table.words is not None
        rows = np.flatnonzero(self._task == index)
        place = np.full(len(self.table), -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        answers = [self.table.words.answers[row] for row in rows]
        return self.model.writer.encode(answers), place
