"""`MultiTask`: a frozen dual encoder whose towers, a low-rank backbone and heads are trained as named blocks.

A client's model is the sub-graph of its tasks: the blocks on their paths, nothing else. Everything trainable is worn
from outside, as by every other base; what lies below the first adapted block of a tower is frozen and can be cached.

Legend: K clients, N = K * B rows (client-major), T tokens, C classes, E joint width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from tensordict import TensorDict
from torch import Tensor

from synoptic.adapters.sites import Site, find_sites, init_lora
from synoptic.adapters.spec import LoraSpec
from synoptic.adapters.stack import adapter
from synoptic.core import SynopticError
from synoptic.core.errors import nearest
from synoptic.core.seeds import generator
from synoptic.data.tasks import MODALITIES, Modality, Task, checked_tasks
from synoptic.models.dual_encoder import DualEncoder
from synoptic.models.frozen import lora_entry, names_of
from synoptic.models.multitask import blocks as layout
from synoptic.models.multitask import heads
from synoptic.models.multitask.backbone import Features, Prefix, all_real, check_modalities, features
from synoptic.models.multitask.blocks import attention_shapes, bottleneck_shapes, encoder_block
from synoptic.models.multitask.layers import Tensors
from synoptic.models.multitask.spec import MultiTaskSpec
from synoptic.models.multitask.writer import Writer
from synoptic.models.towers import TextTower, Tokens, VisionTower

Shapes = dict[str, tuple[int, ...]]


class MultiTask:
    """A modality-task model.

    Args:
        base: the frozen dual encoder.
        tasks: all that anybody has.
        spec: sizes of what is trained.

    Raises:
        SynopticError: tasks of one name that differ, or LoRA that the towers have no place for.
    """

    def __init__(self, base: DualEncoder, tasks: Iterable[Task], spec: MultiTaskSpec | None = None) -> None:
        self.base = base
        self.tasks = {task.name: task for task in checked_tasks(tasks)}
        self.spec = spec or MultiTaskSpec()
        self.width = base.dim
        self.writer = Writer(base, self.spec.heads)
        vision = base.model.config.vision_config
        self.patches = heads.Patches(vision.image_size // vision.patch_size, vision.patch_size)
        self._lora: dict[Modality, LoraSpec] = {
            modality: lora for modality in MODALITIES if (lora := getattr(self.spec, modality)) is not None
        }
        self._sites = {m: find_sites(base.model, self.tower(m).blocks, lora) for m, lora in self._lora.items()}

    # -- blocks -----------------------------------------------------------------------------------------------------

    def task(self, name: str) -> Task:
        """A task by name.

        Raises:
            SynopticError: there is none of that name.
        """
        if name not in self.tasks:
            raise SynopticError(f"there is no task called '{name}'", nearest(name, self.tasks))
        return self.tasks[name]

    def path(self, name: str) -> tuple[str, ...]:
        """Exactly the blocks that this task's forward pass touches."""
        return layout.path(self.task(name), self._lora)

    def blocks(self, names: Iterable[str]) -> dict[str, Shapes]:
        """What a client with these tasks owns: by block, each tensor's whole name and its shape."""
        return {block: {f"{block}/{part}": shape for part, shape in self._shapes(block).items()}
                for block in self._owned(names)}  # fmt: skip

    def new_adapter(self, names: Iterable[str], seed: int) -> TensorDict:
        """First blocks of a client with these tasks; each is the same whoever makes it."""
        tensors: dict[str, Tensor] = {}
        for block in self._owned(names):
            tensors |= self._encoder(block, seed) or layout.fresh(block, self._shapes(block), seed)
        return adapter(tensors)

    def _owned(self, names: Iterable[str]) -> list[str]:
        return list(dict.fromkeys(block for name in names for block in self.path(name)))

    def _shapes(self, block: str) -> Shapes:
        kind, _, name = block.partition("/")
        if kind == "encoder":
            return {part: shape for site in self._sites[_modality(block)]
                    for part, shape in _lora_shapes(site, self._lora[_modality(block)].rank).items()}  # fmt: skip
        if kind == "expert":
            return bottleneck_shapes(self.width, self.spec.rank)
        return self._head_shapes(self.task(name)) if kind == "head" else attention_shapes(self.width, self.spec.rank)

    def _head_shapes(self, task: Task) -> Shapes:
        if task.kind == "generate":
            return self.writer.shapes(self.width, self.spec.head_rank)
        outputs = len(task.labels) if task.kind == "classify" else self.patches.values
        return heads.linear_shapes(outputs, self.width)

    def _encoder(self, block: str, seed: int) -> dict[str, Tensor]:
        if not block.startswith("encoder/"):
            return {}
        modality = _modality(block)
        return init_lora(block, self._sites[modality], self._lora[modality], generator(seed, "block", block))

    # -- what is read -----------------------------------------------------------------------------------------------

    def tower(self, modality: Modality) -> VisionTower | TextTower:
        """The base's tower of a modality."""
        return self.base.vision if modality == "image" else self.base.text

    def depth(self, worn: TensorDict | Tensors, modality: Modality) -> int:
        """The first block of a tower that the stack adapts; everything below can be computed once."""
        blocks = self.tower(modality).blocks
        entry = lora_entry(names_of(worn, encoder_block(modality)), blocks)
        return len(blocks) if entry is None else entry

    def image_prefix(self, pixels: Tensor, depth: int) -> Prefix:
        """What the frozen part makes of pixels ``[N, 3, H, W]``."""
        return all_real(self.base.image_prefix(pixels, depth))

    def text_prefix(self, tokens: Tokens, depth: int) -> Prefix:
        """What the frozen part makes of texts; real are the tokens up to the pooled one."""
        return Prefix(self.base.text_prefix(tokens, depth), text_mask(tokens))

    def read(
        self, worn: Tensors, name: str, pixels: Tensor | None = None, texts: Sequence[str] | None = None
    ) -> Features:
        """`features` from the bottom: pixels ``[N, 3, H, W]`` and ``N`` texts, as far as the task reads them."""
        given: dict[Modality, Prefix] = {}
        if pixels is not None:
            given["image"] = self.image_prefix(pixels, self.depth(worn, "image"))
        if texts is not None:
            given["text"] = self.text_prefix(self.base.tokenize(texts), self.depth(worn, "text"))
        return self.features(worn, name, given)

    def features(self, worn: Tensors, name: str, given: Mapping[Modality, Prefix]) -> Features:
        """Towers and backbone for one task.

        Args:
            worn: a stack by tensor names ``[K]`` that has at least the task's path.
            name: of the task.
            given: by modality, what the frozen part makes of ``N`` client-major rows at `depth`.

        Raises:
            SynopticError: something that the task reads is missing.
        """
        task = self.task(name)
        check_modalities(task, given)
        with self.base.wearing(worn), self.base.precision():
            tokens = {m: self.tower(m).states(given[m].hidden, self.depth(worn, m)).float() for m in task.modalities}
        return features(worn, task, tokens, {m: given[m].mask for m in task.modalities}, self.spec.heads)

    # -- heads ------------------------------------------------------------------------------------------------------

    def logits(self, worn: Tensors, name: str, seen: Features) -> Tensor:
        """Of the labels ``[N, C]``."""
        return heads.classify(worn, self._of_kind(name, "classify"), seen)

    def pixels(self, worn: Tensors, name: str, seen: Features) -> Tensor:
        """The reconstructed picture ``[N, 3, H, W]``, in normalised pixels."""
        return heads.reconstruct(worn, self._of_kind(name, "reconstruct"), seen, self.patches)

    def writing(self, name: str) -> Task:
        """A task whose head is the `writer`'s."""
        return self._of_kind(name, "generate")

    def _of_kind(self, name: str, kind: str) -> Task:
        task = self.task(name)
        if task.kind != kind:
            raise SynopticError(f"task '{name}' is to {task.kind}, not to {kind}", "ask for what its head gives")
        return task


def text_mask(tokens: Tokens) -> Tensor:
    """Which tokens of each text are real ``[N, T]`` bool."""
    return torch.arange(tokens.ids_NT.shape[1], device=tokens.ids_NT.device) <= tokens.pool_N[:, None]


def _modality(block: str) -> Modality:
    return "image" if block.endswith("/image") else "text"


def _lora_shapes(site: Site, rank: int) -> Shapes:
    stem = f"lora/{site.name}"
    return {f"{stem}/A": (rank, site.inputs), f"{stem}/B": (site.outputs, rank), f"{stem}/scale": ()}
