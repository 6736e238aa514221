"""When a personal model takes over what the federation has trained, which blocks, and how far: pure rules.

Three of them. ``by_margin`` compares two training losses, as TAP does (arXiv 2509.26524, section 4.1). ``paired``
compares losses of the same held-out examples and asks for more than noise. ``soft_steps`` moves block by block as far
as the held-out losses of all local tasks allow. `replaced` and `moved` carry a decision out.

Legend: K clients, n held-out examples (padded to the client with most), O tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.blocks import block_of, blocks_of
from synoptic.adapters.stack import names
from synoptic.core import SynopticError

STEPS = (0.25, 0.5, 1.0)
"""How far a block may move besides staying; 1 is replacement."""


# -- deciding by training losses ----------------------------------------------------------------------------------


def by_margin(
    local: Tensor, personal: Tensor, margin: Tensor | float, seen: Tensor, first: Literal["replace", "keep"]
) -> Tensor:  # fmt: skip
    """Whether to replace: ``h_local + margin < h_personal``, bool, any shape.

    Args:
        local: latest mean training loss of the federated copy, by client and task.
        personal: the same of the personal model; not looked at where ``seen`` is false.
        margin: how much better the copy must be, perhaps by task; ``+inf`` never replaces and ``-inf`` always does.
        seen: where the personal model has been trained before.
        first: what to do where it has not, at a finite margin. The paper's code replaces, since its first loss is
            infinite.

    Raises:
        SynopticError: a margin that is NaN, or a loss that is not finite.
    """
    margin = torch.as_tensor(margin, dtype=local.dtype, device=local.device)
    if bool(margin.isnan().any()):
        raise SynopticError("a margin is not a number", "use a number, inf to never replace or -inf to always")
    known = torch.where(seen, personal, 0.0)
    if not bool(torch.isfinite(local).all()) or not bool(torch.isfinite(known).all()):
        raise SynopticError("a training loss is not finite, so nothing can be compared with it",
                            "lower the learning rate or clip gradients")  # fmt: skip
    otherwise = margin < math.inf if first == "replace" else margin == -math.inf
    return torch.where(seen, local + margin < known, otherwise)


# -- deciding by the same held-out examples -----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Held:
    """Losses of held-out examples ``[K, n]`` and which of them are real ``[K, n]`` (one or zero)."""

    losses: Tensor
    weight: Tensor

    @property
    def mean(self) -> Tensor:
        """Mean loss ``[K]``; zero for a client without examples."""
        return (self.losses * self.weight).sum(1) / self.count.clamp(min=1)

    @property
    def count(self) -> Tensor:
        """Real examples ``[K]``."""
        return self.weight.sum(1)


@dataclass(frozen=True, eq=False)
class Change:
    """What another model does to a task's held-out losses; all ``[K]``.

    Attributes:
        gain: mean paired improvement, above zero where the other model is better.
        error: its standard error; infinite with fewer than two examples, for then nothing is known.
        before: mean loss of the model at hand.
    """

    gain: Tensor
    error: Tensor
    before: Tensor

    def better(self, z: float, least: float = 0.0) -> Tensor:
        """Whether the gain is more than noise ``[K]``: above ``z`` standard errors and ``least`` of the loss."""
        return (self.gain > z * self.error) & (self.gain > least * self.before)

    def worse(self, z: float, most: float = 0.0) -> Tensor:
        """Whether the task suffers by more than noise ``[K]``: beyond ``z`` standard errors and ``most`` of the loss.

        What cannot be measured counts as not worse.
        """
        return (-self.gain > z * self.error) & (-self.gain > most * self.before)


def paired(at_hand: Held, other: Held) -> Change:
    """Compare two models on the same examples, in the same order.

    Raises:
        SynopticError: different examples, or losses that are not finite.
    """
    if at_hand.losses.shape != other.losses.shape or not torch.equal(at_hand.weight, other.weight):
        raise SynopticError("two models were measured on different examples", "measure both on the same ones")
    weight, count = at_hand.weight.double(), at_hand.count.double()
    # Padding may hold anything, NaN included, and infinity times zero is NaN.
    apart = torch.where(weight > 0, (at_hand.losses - other.losses).double(), 0.0)
    if not bool(torch.isfinite(apart).all()):
        raise SynopticError("a held-out loss is not finite", "lower the learning rate or clip gradients")
    gain = apart.sum(1) / count.clamp(min=1)
    square = torch.where(weight > 0, (apart - gain[:, None]).square(), 0.0).sum(1)
    error = (square / (count - 1).clamp(min=1) / count.clamp(min=1)).sqrt()
    return Change(gain, torch.where(count > 1, error, math.inf), at_hand.mean.double())


def blocks_to_replace(
    paths: Mapping[str, Sequence[str]], better: Mapping[str, Tensor], worse: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Which blocks to replace ``[K]`` by block: those on the path of a task that gains, without a veto.

    A task that suffers vetoes every block on its path, shared ones among them. What is left may be a mixture that
    nobody has measured; measure it, and take it back where `paired` says that a task suffers (`rolled_back`).

    Args:
        paths: blocks by task, of the tasks that these clients have.
        better: by task, whether it gains ``[K]``.
        worse: by task, whether it suffers ``[K]``; tasks that are missing have no veto.
    """
    wanted: dict[str, Tensor] = {}
    for task, gains in better.items():
        for block in paths[task]:
            wanted[block] = wanted[block] | gains if block in wanted else gains
    for task, suffers in worse.items():
        for block in paths[task]:
            if block in wanted:
                wanted[block] = wanted[block] & ~suffers
    return wanted


def rolled_back(chosen: Mapping[str, Tensor], worse: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same choice, and nothing at all for clients of whom some task came out worse."""
    if not worse:
        return dict(chosen)
    spoilt = torch.stack(list(worse.values())).any(0)
    return {block: replace & ~spoilt for block, replace in chosen.items()}


# -- deciding block by block, and by how much ---------------------------------------------------------------------


Measure = Callable[[TensorDict], Mapping[str, Held]]
"""Personal models ``[K]`` -> held-out losses of every local task."""


def soft_steps(
    personal: TensorDict, source: TensorDict, measure: Measure, z: float = 1.0, steps: Sequence[float] = STEPS
) -> dict[str, Tensor]:
    """How far each block moves from the personal model to the source: ``[K]`` by block, zero where it stays.

    First all blocks together, because blocks that were trained together fit together; then one after the other, to any
    of the steps or back. Each client takes what gives the lowest joint loss: the mean over its tasks of the held-out
    loss relative to the untouched personal model's. A step counts only where no task has become worse than untouched by
    more than ``z`` standard errors of the paired difference.

    Args:
        personal: the personal models ``[K]``, left unchanged.
        source: what they may move to ``[K]``, the same tensors.
        measure: held-out losses of models.
        z: how sure a loss must be to forbid a step.
        steps: what to try besides staying, each above 0 and at most 1; one pass over the held-out examples each, for
            every block and once for all.

    Raises:
        SynopticError: steps outside of (0, 1], or a task's losses that are not finite.
    """
    if not steps or not all(0 < step <= 1 for step in steps):
        raise SynopticError(f"blocks cannot move by {list(steps)}", "use steps above 0 and at most 1")
    untouched = measure(personal)
    taken = {block: torch.zeros(len(personal)) for block in blocks_of(personal)}
    lowest, _ = _joint(untouched, untouched, z)
    for group in (list(taken), *([block] for block in taken)):
        start = taken
        for step in (0.0, *steps):
            tried = {**start, **{block: torch.full_like(start[block], step) for block in group}}
            if all(torch.equal(tried[block], taken[block]) for block in group):
                continue
            joint, forbidden = _joint(untouched, measure(moved(personal, source, tried)), z)
            lower = (joint < lowest) & ~forbidden
            lowest = torch.where(lower, joint, lowest)
            taken = {block: torch.where(lower, tried[block], at) if block in group else at
                     for block, at in taken.items()}  # fmt: skip
    return taken


def _joint(untouched: Mapping[str, Held], tried: Mapping[str, Held], z: float) -> tuple[Tensor, Tensor]:
    """The joint loss ``[K]`` and whether some task forbids it ``[K]``."""
    relative, known, forbidden = [], [], []
    for task, before in untouched.items():
        change = paired(before, tried[task])
        real = before.count > 0
        size = torch.where(change.before > 0, change.before, 1.0)
        relative.append(torch.where(real, (change.before - change.gain) / size, 0.0))
        known.append(real)
        forbidden.append(change.worse(z))
    many = torch.stack(known).sum(0).clamp(min=1)
    return torch.stack(relative).sum(0) / many, torch.stack(forbidden).any(0)


# -- carrying a decision out --------------------------------------------------------------------------------------


def replaced(personal: TensorDict, source: TensorDict, chosen: Mapping[str, Tensor]) -> TensorDict:
    """Personal models ``[K]`` with the chosen blocks taken from the source, bit for bit, and all others unchanged.

    Args:
        personal: left unchanged.
        source: models ``[K]`` that have at least the chosen blocks.
        chosen: by block, which clients replace it ``[K]`` bool.

    Raises:
        SynopticError: a block that one side lacks.
    """
    return moved(personal, source, {block: replace.float() for block, replace in chosen.items()})


def moved(personal: TensorDict, source: TensorDict, steps: Mapping[str, Tensor]) -> TensorDict:
    """``X + a (W - X)`` block by block, exactly X at ``a = 0`` and exactly W at ``a = 1``.

    Args:
        personal: models X ``[K]``, left unchanged.
        source: models W ``[K]``.
        steps: by block, a of each client ``[K]``; blocks that are missing stay.

    Raises:
        SynopticError: a block that one side lacks.
    """
    absent = sorted(block for block in steps if block not in blocks_of(personal) or block not in blocks_of(source))
    if absent:
        raise SynopticError(f"block '{absent[0]}' cannot be replaced, because one side lacks it",
                            "choose among the blocks that the client owns")  # fmt: skip
    result: dict[str, Tensor] = {}
    for name in names(personal):
        step = steps.get(block_of(name))
        result[name] = personal[name] if step is None else _between(personal[name], source[name], step)
    return TensorDict(result, batch_size=personal.batch_size)


def _between(here: Tensor, there: Tensor, step_K: Tensor) -> Tensor:
    step = step_K.to(here.dtype).view(-1, *[1] * (here.ndim - 1))
    between = here + step * (there - here)
    return torch.where(step == 0, here, torch.where(step == 1, there, between))
