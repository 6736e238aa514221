"""Shared by the tests: a tiny random CLIP and SigLIP on disk, small modules with packed weights, random adapters.

``clip_folder()`` and ``siglip_folder()`` are written once per session by ``save_pretrained`` and removed at its end.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from synoptic.adapters.stack import adapter, names, stack_of
from synoptic.core.seeds import generator
from synoptic.models.dual_encoder import DualEncoder
from synoptic.models.load import load_dual_encoder

WORDS = ["<pad>", "<unk>", "<s>", "a", "photo", "of", "the", "digit", "red", "circle", "seven", ".", "</s>"]
END = len(WORDS) - 1
BLOCK = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
SPECIAL = {"bos_token_id": 2, "eos_token_id": END, "pad_token_id": 0}
TEXT = {"vocab_size": len(WORDS), "max_position_embeddings": 16, **SPECIAL}
SENTENCES = ["a photo of a red circle .", "seven", "the digit seven ."]

_session = TemporaryDirectory(prefix="synoptic-tests-")


def tokenizer() -> Any:
    """One id per word, start and end tokens; the end token has the highest id."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", END)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def write_clip(folder: Path, seed: int = 0) -> Path:
    """A random CLIP: 3 + 3 blocks of width 32, 32 x 32 pictures in 8 x 8 patches, joint dimension 24."""
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    config = CLIPConfig(
        text_config={**BLOCK, **TEXT}, vision_config={**BLOCK, "image_size": 32, "patch_size": 8}, projection_dim=24
    )
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return _write(folder, CLIPModel, config, processor, seed)


def write_siglip(folder: Path, seed: int = 0) -> Path:
    """A random SigLIP of the same sizes; its joint dimension is the width, its image tower pools by attention."""
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel

    config = SiglipConfig(text_config={**BLOCK, **TEXT}, vision_config={**BLOCK, "image_size": 32, "patch_size": 8})
    return _write(folder, SiglipModel, config, SiglipImageProcessorPil(size={"height": 32, "width": 32}), seed)


def _write(folder: Path, family: Any, config: Any, processor: Any, seed: int) -> Path:
    import transformers

    transformers.logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = family(config)
        for name, parameter in model.named_parameters():
            # The library's start is so small that a wrong factor would hide below the tolerance.
            if name.endswith("weight") and parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.15)
    for part in (model, tokenizer(), processor):
        part.save_pretrained(folder)
    return folder


@cache
def clip_folder() -> Path:
    """The session's random CLIP."""
    return write_clip(Path(_session.name) / "clip")


@cache
def siglip_folder() -> Path:
    """The session's random SigLIP."""
    return write_siglip(Path(_session.name) / "siglip")


FOLDERS = {"clip": clip_folder, "siglip": siglip_folder}


@cache
def base(family: str = "clip", dtype: Any = "float32") -> DualEncoder:
    """The session's frozen base of a family (``clip`` or ``siglip``); wearing is undone, so tests may share it."""
    return load_dual_encoder(str(FOLDERS[family]()), dtype)


def reference(family: str = "clip") -> Any:
    """The same weights as plain Hugging Face model, fresh, in evaluation mode."""
    import transformers

    name = {"clip": "CLIPModel", "siglip": "SiglipModel"}[family]
    return getattr(transformers, name).from_pretrained(FOLDERS[family]()).eval()


def randomised(one: TensorDict, seed: int, size: float = 0.2) -> TensorDict:
    """The same adapter or stack with every trainable tensor drawn at random; scales stay."""
    rng = generator(seed, "tests", "adapter")
    fresh = {
        name: one[name].clone() if name.endswith("/scale") else torch.randn(one[name].shape, generator=rng) * size
        for name in names(one)
    }
    return TensorDict(fresh, batch_size=one.batch_size)


def lora(
    path: str, outputs: int, inputs: int, rank: int = 2, scale: float = 1.0, seed: int = 0, tower: str = "vision"
) -> dict[str, Tensor]:
    """Random factors of one site, by name."""
    rng = generator(seed, "tests", "lora", path)
    stem = f"{tower}/lora/{path}"
    return {
        f"{stem}/A": torch.randn(rank, inputs, generator=rng),
        f"{stem}/B": torch.randn(outputs, rank, generator=rng),
        f"{stem}/scale": torch.tensor(scale),
    }


def clients(
    adapters: int, *sites: tuple[str, int, int], rank: int = 2, scale: float = 1.0, seed: int = 0
) -> TensorDict:
    """A stack of random clients with the given sites ``(path, outputs, inputs)``."""
    made = []
    for k in range(adapters):
        tensors: dict[str, Tensor] = {}
        for path, outputs, inputs in sites:
            tensors |= lora(path, outputs, inputs, rank, scale, seed=1000 * seed + k)
        made.append(adapter(tensors))
    return stack_of(made)


class FusedBlock(nn.Module):
    """An attention block whose query, key and value share one ``nn.Linear`` called ``qkv``."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        result: Tensor = self.proj(mixed)
        return result


class PackedBlock(nn.Module):
    """An attention block around ``nn.MultiheadAttention``, and an MLP."""

    def __init__(self, width: int = 8, batch_first: bool = True) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, 2, batch_first=batch_first)
        self.fc1 = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.fc1(self.attn(x, x, x)[0])
        return result


class Net(nn.Module):
    """Blocks of one kind in a row, at ``blocks.0``, ``blocks.1``..."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


def net(*blocks: nn.Module, seed: int = 0) -> Net:
    """A frozen `Net` with weights large enough to see."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Net(*blocks).eval().requires_grad_(False)
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.4)
    return model
