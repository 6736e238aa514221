"""What `synoptic.methods.adaptive` asks in its first rounds: two adapters on the two halves of a client's data.

Legend: K clients, S sites, 2 halves, m directions, r rank, D inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.algebra import lora_stems
from synoptic.adapters.stack import names
from synoptic.adapters.subspaces import halves_of_update, moved_inputs, reference, summary
from synoptic.core.seeds import generator, numpy_generator
from synoptic.federation.cohort import Cohort
from synoptic.federation.message import add_work
from synoptic.learning.fit import Fitted


class Half(Cohort):
    """The same clients with one half of their training examples; who has but one example has it in both halves.

    Args:
        whole: the cohort.
        half: 0 or 1.
        spells: for each client which of its probings this is; each has its own random halves.
    """

    def __init__(self, whole: Cohort, half: int, spells: Sequence[int]) -> None:
        super().__init__(whole.clients, whole.bench, whole.personal, whole.round)
        self._half = half
        self._spells = spells

    @property
    def positions(self) -> list[NDArray]:  # type: ignore[type-arg]
        """Each client's half."""
        return [self._half_of(rows, client, spell)
                for rows, client, spell in zip(super().positions, self.clients, self._spells, strict=True)]  # fmt: skip

    def _half_of(self, rows: NDArray, client: int, spell: int) -> NDArray:  # type: ignore[type-arg]
        rng = numpy_generator(self.bench.seed, "halves", spell, client)
        return rows if len(rows) < 2 else rng.permutation(rows)[self._half :: 2]


def fit_halves(cohort: Cohort, starts: Sequence[TensorDict], spells: Sequence[int]) -> list[Fitted]:
    """Local training of both halves, each for half the steps: together what one round costs."""
    specs = [cohort.bench.train] * 2
    if cohort.bench.train.steps is not None:
        sizes = (cohort.bench.train.steps + 1) // 2, max(1, cohort.bench.train.steps // 2)
        specs = [cohort.bench.train.model_copy(update={"steps": size}) for size in sizes]
    fitted = []
    for half, (start, spec) in enumerate(zip(starts, specs, strict=True)):
        part = Half(cohort, half, spells)
        fitted.append(part.fit(start, train=spec))
        add_work(cohort.work, part.work)
    return fitted


def spaces(one: TensorDict, directions: int) -> list[tuple[int, int]]:
    """Rows of a summary that each site's inputs and outputs have: m, or the width where that is smaller."""
    return [(min(directions, one[f"{stem}/A"].shape[-1]), min(directions, one[f"{stem}/B"].shape[-2]))
            for stem in lora_stems(one)]  # fmt: skip


def summaries(stack: TensorDict, start: TensorDict, directions: int, seed: int) -> Tensor:
    """What clients learned at every site since ``start``, seen from everybody's reference: ``[K, S, 3, m, r]``.

    Moved inputs, then outputs and inputs of the update (`synoptic.adapters.subspaces`); zero-padded to m rows.
    """
    sites = []
    for stem in lora_stems(stack):
        A, B = stack[f"{stem}/A"], stack[f"{stem}/B"]
        outputs, inputs = halves_of_update(A, B)
        columns = {"inputs": [moved_inputs(A, B, start[f"{stem}/A"]), inputs], "outputs": [outputs]}
        seen = [summary(each, reference(each.shape[-2], directions, generator(seed, "reference", stem, name)))
                for name, some in columns.items() for each in some]  # fmt: skip
        padded = [F.pad(each, (0, 0, 0, directions - each.shape[-2])) for each in seen]
        sites.append(torch.stack([padded[0], padded[2], padded[1]], dim=1))
    return torch.stack(sites, dim=1)


def middle(one: TensorDict, two: TensorDict, share: float = 0.5) -> TensorDict:
    """``share`` of the way from one adapter (or stack) to another, tensor by tensor; scales are the first one's."""
    tensors = {name: one[name] if name.endswith("/scale") else torch.lerp(one[name], two[name], share)
               for name in names(one)}  # fmt: skip
    return TensorDict(tensors, batch_size=one.batch_size)
