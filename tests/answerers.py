"""Shared by the tests of generative models: tiny random ones on disk, a table of questions, random adapters."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from synoptic.data.images import EncodedImages, choose
from synoptic.data.table import ArrayImages, ExampleTable
from synoptic.data.words import Words
from synoptic.models.answerer import Answerer
from synoptic.models.load import load_model

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<image>", "<|vision_start|>", "<|vision_end|>", "<global-img>",
           "<fake_token_around_image>", *(f"<row_{r}_col_{c}>" for r in (1, 2) for c in (1, 2))]  # fmt: skip
WORDS = [*SPECIAL, "what", "colour", "is", "the", "shape", "?", ".", "a", "red", "blue", "green", "circle", "square",
         "star", "it", "yes", "no", "in", "corner", "dotted", "how", "many", "one", "two"]  # fmt: skip
IDS = {word: place for place, word in enumerate(WORDS)}
TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": len(WORDS), "max_position_embeddings": 96, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
          "image_size": 32, "patch_size": 8}  # fmt: skip
CHAT = ("{% for message in messages %}{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}{{ image }}{% else %}{{ part['text'] }} {% endif %}"
        "{% endfor %}{% endfor %}{% if add_generation_prompt %}it is {% endif %}")  # fmt: skip

_session = TemporaryDirectory(prefix="synoptic-tests-answerers-")


def tokenizer(chat: bool = False, special: bool = True) -> Any:
    """One id per word; begins every text with ``<s>``."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel(IDS, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    more = {"additional_special_tokens": SPECIAL[4:]} if special else {}
    made = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", bos_token="<s>",
                                   eos_token="</s>", **more)  # fmt: skip
    if chat:
        made.chat_template = CHAT.replace("{{ image }}", "<image>")
    return made


def llava() -> tuple[Any, Any]:
    """CLIP and Llama."""
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
    )

    config = LlavaConfig(vision_config=CLIPVisionConfig(**VISION), text_config=LlamaConfig(**TEXT),
                         image_token_id=IDS["<image>"], vision_feature_layer=-1)  # fmt: skip
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return LlavaForConditionalGeneration(config), processor


def qwen2_vl() -> tuple[Any, Any]:
    """Pictures in grids of any shape, positions in three directions."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLImageProcessorPil

    vision = {"depth": 2, "embed_dim": 32, "num_heads": 2, "mlp_ratio": 2, "hidden_size": 32, "patch_size": 8}
    text = TEXT | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}}
    config = Qwen2VLConfig(vision_config=vision, text_config=text, image_token_id=IDS["<image>"])
    return Qwen2VLForConditionalGeneration(config), Qwen2VLImageProcessorPil(patch_size=8, **SIZE)


def qwen2_5_vl() -> tuple[Any, Any]:
    """The same with windows in the image tower."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil

    vision = {"depth": 2, "hidden_size": 32, "num_heads": 2, "intermediate_size": 48, "out_hidden_size": 32,
              "patch_size": 8, "window_size": 32, "fullatt_block_indexes": [1]}  # fmt: skip
    text = TEXT | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}}
    config = Qwen2_5_VLConfig(vision_config=vision, text_config=text, image_token_id=IDS["<image>"])
    return Qwen2_5_VLForConditionalGeneration(config), Qwen2VLImageProcessorPil(patch_size=8, **SIZE)


def idefics3() -> tuple[Any, Any]:
    """Pictures in frames."""
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3ImageProcessorPil, LlamaConfig

    config = Idefics3Config(vision_config=VISION, text_config=LlamaConfig(**TEXT), scale_factor=2,
                            image_token_id=IDS["<image>"])  # fmt: skip
    return Idefics3ForConditionalGeneration(config), Idefics3ImageProcessorPil(**FRAMES)


def smolvlm() -> tuple[Any, Any]:
    """The same under another name."""
    from transformers import LlamaConfig, SmolVLMConfig, SmolVLMForConditionalGeneration, SmolVLMImageProcessorPil

    config = SmolVLMConfig(vision_config=VISION, text_config=LlamaConfig(**TEXT), scale_factor=2,
                           image_token_id=IDS["<image>"])  # fmt: skip
    return SmolVLMForConditionalGeneration(config), SmolVLMImageProcessorPil(**FRAMES)


SIZE = {"size": {"shortest_edge": 16 * 16, "longest_edge": 48 * 48}}
FRAMES = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}}
MADE = {"llava": llava, "qwen2_vl": qwen2_vl, "qwen2_5_vl": qwen2_5_vl, "idefics3": idefics3, "smolvlm": smolvlm}
FAMILIES = tuple(MADE)


def write(folder: Path, family: str, chat: bool = False, seed: int = 0) -> Path:
    """A random model of a family, as ``save_pretrained`` writes it."""
    import transformers

    transformers.logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, processor = MADE[family]()
        for name, parameter in model.named_parameters():
            # The library's start is so small that a wrong factor would hide below the tolerance.
            if name.endswith("weight") and parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.2)
    for part in (model, tokenizer(chat), processor):
        part.save_pretrained(folder)
    return folder


@cache
def folder(family: str) -> Path:
    """The session's random model of a family."""
    return write(Path(_session.name) / family, family, chat=family == "smolvlm")


@cache
def base(family: str = "llava", dtype: Any = "float32") -> Answerer:
    """The session's frozen base of a family; wearing is undone, so tests may share it."""
    model = load_model(str(folder(family)), dtype)
    assert isinstance(model, Answerer)
    return model


def reference(family: str) -> Any:
    """The same weights as plain Hugging Face model, fresh, in evaluation mode."""
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(folder(family)).eval()


QUESTIONS = ("what colour is it ?", "what shape is the one in the corner ?", "is it red ?", "how many ?")
ANSWERS = ("red", "a blue square in the corner", "yes .", "two")
REJECTED = ("green", "a circle", "no .", "one star")


def pictures(count: int, side: int = 32) -> np.ndarray:
    """Random pictures."""
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def table(rows: int = 8, rejected: bool = True, shared: bool = True) -> ExampleTable:
    """Questions about random pictures, of which two rows share each."""
    store = ArrayImages(pictures(rows))
    images = choose(store, np.arange(rows) // 2) if shared else store
    kind = np.arange(rows) % len(QUESTIONS)
    words = Words(tuple(QUESTIONS[k] for k in kind), tuple(ANSWERS[k] for k in kind),
                  tuple(REJECTED[k] for k in kind) if rejected else None)  # fmt: skip
    return ExampleTable("asked", images, kind, QUESTIONS, words=words)


def odd_pictures(sizes: list[tuple[int, int]]) -> list[Image.Image]:
    """Random pictures of different sizes (height, width)."""
    rng = np.random.default_rng(1)
    return [Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]


def odd_table() -> ExampleTable:
    """`table` about four pictures of different sizes, as PNG, two questions about each."""
    content = []
    for picture in odd_pictures([(32, 32), (24, 60), (60, 24), (40, 80)]):
        file = io.BytesIO()
        picture.save(file, "PNG")
        content.append(file.getvalue())
    return replace(table(), images=choose(EncodedImages(content, "the pictures"), np.arange(8) // 2))


def row_inputs(model: Answerer, view: Any, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """One row as the library's own model takes it."""
    kind = model.model.config.model_type
    inputs = {"input_ids": ids[None], "attention_mask": torch.ones_like(ids[None]), "pixel_values": view.pixels[None]}
    if kind.startswith("qwen"):
        inputs |= {"pixel_values": view.pixels, "image_grid_thw": torch.tensor([view.grid]),
                   "mm_token_type_ids": (ids[None] == model.family.image_id).int()}  # fmt: skip
    return inputs


def mixed_rows(model: Answerer) -> tuple[list[Any], Any]:
    """Views of four pictures of different sizes, and a question with an answer about each."""
    views = model.family.views(odd_pictures([(32, 32), (24, 60), (60, 24), (40, 80)]))
    where = [f"row {place}" for place in range(4)]
    return views, model.prompts.encode(QUESTIONS, [view.grid for view in views], ANSWERS, where)


def lora(**more: Any) -> dict[str, Any]:
    """LoRA on every weight of all blocks."""
    return {"lora": {"layers": "all", "targets": ["q", "k", "v", "o", "fc1", "fc2"], **more}}
