"""Which model a client is left with: chosen on its own validation examples among several candidates.

A personal factor was tuned beside the client's own last copy of the shared one; worn beside the newest average it may
fit worse, and may generalise better. Only held-out examples of that client can tell, so each client chooses for itself.

Legend: C candidates, K clients.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.stack import names
from synoptic.federation.cohort import Cohort
from synoptic.methods.probing import middle

CANDIDATES = ("global", "between", "own")
"""What `candidates` returns, by name; the first is the default."""


def candidates(newest: TensorDict, own: TensorDict) -> list[TensorDict]:
    """Newest shared parts with the own rest, the client's own last model, halfway between: stacks ``[K]``."""
    return [newest, middle(newest, own), own]  # As in CANDIDATES.


def validation_losses(cohort: Cohort, stacks: Sequence[TensorDict]) -> Tensor:
    """Mean loss of each candidate on each client's validation examples, ``[C, K]``; NaN for a client without any."""
    return losses_on(cohort, stacks, [cohort.bench.data.clients.val(client) for client in cohort.clients])


def losses_on(cohort: Cohort, stacks: Sequence[TensorDict], rows: Sequence[NDArray[np.int64]]) -> Tensor:
    """Mean loss of each candidate on these rows of the training table, one list for each client; as above."""
    losses = torch.full((len(stacks), len(cohort)), torch.nan, dtype=torch.float64)
    for place, some in enumerate(rows):
        for number, stack in enumerate(stacks):
            if len(some):
                score = cohort.bench.problem.score(stack[place : place + 1], some, "local", part="train")
                losses[number, place] = score["loss"].double().mean()
    return losses


def choose(losses_CK: Tensor) -> Tensor:
    """The candidate with the lowest loss ``[K]``; the first one in a draw, and where nothing is known."""
    known = torch.where(losses_CK.isfinite(), losses_CK, torch.inf)
    return torch.where(known.isfinite().any(0), known.argmin(0), 0)


def picked(stacks: Sequence[TensorDict], choice_K: Tensor) -> TensorDict:
    """Client k's adapter out of candidate ``choice_K[k]``, as a stack ``[K]``."""
    place = torch.arange(len(choice_K))
    tensors = {name: torch.stack([stack[name] for stack in stacks])[choice_K, place] for name in names(stacks[0])}
    return TensorDict(tensors, batch_size=[len(choice_K)])


def shares_of(choice: Tensor) -> dict[str, float]:
    """The share of clients that were left with each candidate, for the log."""
    return {f"delivered/{name}": float((choice == number).float().mean()) for number, name in enumerate(CANDIDATES)}
