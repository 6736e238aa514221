"""One site, one real-sized model: `fit` on CLIP ViT-B/32 with cache and bfloat16 base, against torch and peft.

Legend: K clients, N images.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.bare import classify, load_clip, train
from benchmarks.measure import Result, interleaved, paired, rounded
from benchmarks.workload import SEED, bare_names, large_digits, vit_b_32, write_clip
from synoptic.adapters.spec import AdapterSpec
from synoptic.adapters.stack import expand, leaves
from synoptic.core.seeds import numpy_generator
from synoptic.data import digits
from synoptic.data.table import ExampleTable
from synoptic.learning.batches import plan
from synoptic.learning.classifier import Classifier, ImageRows
from synoptic.learning.fit import fit
from synoptic.learning.spec import TrainSpec
from synoptic.models.cache import Budget
from synoptic.models.dual_encoder import READY, DualEncoder
from synoptic.models.load import load_dual_encoder

LORA = AdapterSpec.model_validate({"vision": {"lora": {"rank": 4, "layers": 2}}})
TRAIN = TrainSpec(lr=5e-3, batch_size=32)
CLASSES = np.arange(10)
CLOSE = 1e-3
"""How far the two sides' float32 losses may be apart in any epoch."""

SMALL: dict[str, Any] = {"vision": {"num_hidden_layers": 4, "image_size": 64, "patch_size": 32}, "text": {}, "dim": 64}
Epoch = Callable[[], float]


def measure(quick: bool) -> Result:
    """`vitb_speedup` and what it is made of, all cores on every side; every epoch is one repeat."""
    torch.set_num_threads(1 if quick else os.cpu_count() or 1)
    epochs, table = (3, large_digits(32, 64)) if quick else (7, large_digits(64, 224))
    with TemporaryDirectory(prefix="synoptic-bench-") as folder:
        clip = write_clip(Path(folder), **SMALL) if quick else vit_b_32(Path(folder))
        losses: dict[str, list[float]] = {}
        sides = _sides(clip, table)
        contenders = {name: _recorded(epoch, losses.setdefault(name, [])) for name, epoch in sides.items()}
        times = interleaved(contenders, repeats=epochs, warmup=0)
    torch.set_num_threads(1)
    _check(losses["peft, float32"], losses["synoptic, cache, float32"])
    return _result(times, losses, len(table), quick)


def _check(theirs: list[float], ours: list[float]) -> None:
    apart = max(abs(a - b) for a, b in zip(theirs, ours, strict=True))
    if not apart < CLOSE:
        raise RuntimeError(f"the float32 losses of the two sides are {apart:.2g} apart; the bound is {CLOSE:g}")


def _result(times: dict[str, list[float]], losses: dict[str, list[float]], examples: int, quick: bool) -> Result:
    result = Result(seconds={"vitb": rounded(times)})
    # The first epoch fills the cache and warms everybody up; it counts in `_with_fill` only.
    later = {name: values[1:] for name, values in times.items()}
    ours = "synoptic, cache, bfloat16"
    for key, above, below in (
        ("vitb_speedup", "peft, float32", ours),
        ("vitb_speedup_over_bfloat16_peft", "peft, bfloat16", ours),
        ("vitb_speedup_cache_only", "peft, float32", "synoptic, cache, float32"),
    ):
        result.add(key, paired(later[above], later[below]))
    result.add("vitb_speedup_with_fill", [sum(times["peft, float32"]) / sum(times[ours])])
    result.notes["vitb_speedup"] = {
        "what": "an epoch of plain float32 torch + peft over an epoch of Synoptic's fit with the prefix cache filled "
        "and a bfloat16 base; LoRA r=4 on q,k,v of the last two image blocks, batch 32, text embeddings computed once; "
        "_with_fill: the sums over all epochs, the first one with the cache's fill",
        "model": "a small stand-in" if quick else "CLIP ViT-B/32, random weights, 224 px", "examples": examples,
        "epochs": len(times[ours]), "threads": 1 if quick else os.cpu_count(),
        "loss_by_epoch": {name: [round(value, 5) for value in curve] for name, curve in losses.items()},
        "bfloat16_by_hardware": "avx512_bf16" in _flags() or "amx_bf16" in _flags(),
    }  # fmt: skip
    return result


def _sides(clip: Path, table: ExampleTable) -> dict[str, Epoch]:
    model = load_dual_encoder(str(clip))
    pixels = model.pixels(table.images.load(np.arange(len(table))))
    prompts = [digits.TEMPLATE.replace("{}", name) for name in table.class_names]
    texts = F.normalize(model.text_prefix(model.tokenize(prompts), READY), dim=-1)
    labels = torch.from_numpy(table.labels)
    start = bare_names(leaves(model.new_adapter(LORA, SEED)))
    return {
        "peft, float32": _Peft(clip, start, pixels, labels, texts, torch.float32).epoch,
        "peft, bfloat16": _Peft(clip, start, pixels, labels, texts, torch.bfloat16).epoch,
        "synoptic, cache, float32": _Ours(model, table, prompts).epoch,
        "synoptic, cache, bfloat16": _Ours(load_dual_encoder(str(clip), "bfloat16"), table, prompts).epoch,
    }


class _Peft:
    """What a person writes: `get_peft_model`, AdamW, a loop over batches. The base rests in ``dtype``."""

    def __init__(
        self, clip: Path, start: Mapping[str, Tensor], pixels: Tensor, labels: Tensor, texts: Tensor, dtype: torch.dtype
    ) -> None:
        import peft

        sites = sorted({name.rpartition("/")[0] for name in start})
        rank = len(start[f"{sites[0]}/A"])
        config = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=sites, lora_dropout=0.0)
        self._model = peft.get_peft_model(load_clip(clip).to(dtype), config)
        self._clip: Any = self._model.base_model.model
        _fill(self._clip, start)
        self._pixels, self._labels, self._texts = pixels.to(dtype), labels, texts
        self._parameters: list[nn.Parameter] = [p for p in self._model.parameters() if p.requires_grad]
        self._epoch = 0

    def epoch(self) -> float:
        rows = torch.from_numpy(np.concatenate(_batches(len(self._labels), self._epoch)))
        self._epoch += 1
        return train(self._parameters, self._loss, rows, TRAIN.lr, TRAIN.batch_size)

    def _loss(self, rows: Tensor) -> Tensor:
        images = self._clip.get_image_features(pixel_values=self._pixels[rows]).pooler_output
        return classify(self._clip, images.float(), self._texts, self._labels[rows])


@torch.no_grad()
def _fill(clip: Any, start: Mapping[str, Tensor]) -> None:
    for name, values in start.items():
        path, _, factor = name.rpartition("/")
        layer = clip.get_submodule(path)
        {"A": layer.lora_A, "B": layer.lora_B}[factor]["default"].weight.copy_(values)


class _Ours:
    """Synoptic's `fit` on a stack of one client, as a real site runs it."""

    def __init__(self, model: DualEncoder, table: ExampleTable, prompts: list[str]) -> None:
        rows = ImageRows(model, table, np.arange(len(table)), Budget(2**31))
        self._loss = Classifier(model, prompts).loss(rows, table.labels, CLASSES)
        self._stack = expand(model.new_adapter(LORA, SEED), 1)
        self._examples = len(table)
        self._epoch = 0

    def epoch(self) -> float:
        fitted = fit(self._stack, [_batches(self._examples, self._epoch)], self._loss, TRAIN, TRAIN.lr)
        self._stack = fitted.stack
        self._epoch += 1
        return float(fitted.loss[0])


def _batches(examples: int, epoch: int) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
    return plan(numpy_generator(SEED, "vitb").permutation(examples), TRAIN, SEED, epoch, 0)


def _recorded(epoch: Epoch, losses: list[float]) -> Callable[[], None]:
    return lambda: losses.append(epoch())


def _flags() -> str:
    info = Path("/proc/cpuinfo")
    return info.read_text(encoding="utf-8") if info.exists() else ""
