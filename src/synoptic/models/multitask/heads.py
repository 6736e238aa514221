"""Heads that need no words: classes of pictures or texts, and the picture itself.

Legend: K clients, N = K * B rows (client-major), C classes, P patches, p pixels along a patch, E joint width.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from synoptic.data.tasks import Task
from synoptic.models.multitask.backbone import Features
from synoptic.models.multitask.blocks import head_block
from synoptic.models.multitask.layers import Tensors, per_client


@dataclass(frozen=True)
class Patches:
    """How a tower cuts pictures up: ``side * side`` squares of ``size * size`` pixels, row by row."""

    side: int
    size: int

    @property
    def values(self) -> int:
        """Numbers of one patch, three colours."""
        return 3 * self.size**2

    def joined(self, values_NPV: Tensor) -> Tensor:
        """Patches ``[N, P, 3 p p]`` as pictures ``[N, 3, H, W]``."""
        squares = values_NPV.view(-1, self.side, self.side, 3, self.size, self.size)
        return squares.permute(0, 3, 1, 4, 2, 5).reshape(-1, 3, self.side * self.size, self.side * self.size)


def linear_shapes(outputs: int, width: int) -> dict[str, tuple[int, ...]]:
    """``weight`` ``[outputs, E]`` and ``bias`` ``[outputs]``."""
    return {"weight": (outputs, width), "bias": (outputs,)}


def classify(worn: Tensors, task: Task, seen: Features) -> Tensor:
    """Logits of the task's labels ``[N, C]``, from the mean token."""
    return _linear(worn, task, seen.pooled)


def reconstruct(worn: Tensors, task: Task, seen: Features, patches: Patches) -> Tensor:
    """The picture ``[N, 3, H, W]`` in normalised pixels, each patch from its own token.

    The paper's code unfolds the whole picture from one mean token, which holds far fewer numbers than the picture.
    """
    tokens_NPE = seen.tokens[:, seen.spans["image"]][:, -(patches.side**2) :]
    return patches.joined(_linear(worn, task, tokens_NPE))


def _linear(worn: Tensors, task: Task, x: Tensor) -> Tensor:
    weight_KOE, bias_KO = (worn[f"{head_block(task)}/{part}"] for part in ("weight", "bias"))
    rows = per_client(x, weight_KOE)
    return (rows.view(len(bias_KO), -1, bias_KO.shape[1]) + bias_KO[:, None]).view(rows.shape)
