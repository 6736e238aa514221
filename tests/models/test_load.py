from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import FOLDERS, base, write_clip
from synoptic.core import SynopticError
from synoptic.data import digits
from synoptic.models.dual_encoder import READY
from synoptic.models.load import base_folder, embedded, load_dual_encoder, save_processors, shared_dual_encoder


def copy_of(tmp_path: Path, family: str = "clip") -> Path:
    return Path(shutil.copytree(FOLDERS[family](), tmp_path / "copy"))


def sentence(name: str | Path) -> str:
    with pytest.raises(SynopticError) as caught:
        load_dual_encoder(str(name))
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith((".", "?"))
    assert len(message) < 500
    return message


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    assert "no embedded model or folder called 'tiny-clp'; did you mean 'tiny-clip'?" in sentence("tiny-clp")
    assert "no embedded model or folder called './nowhere'" in sentence("./nowhere")
    assert "holds no config.json; point to a folder made by save_pretrained" in sentence(tmp_path)


def test_a_hub_id_without_a_connection() -> None:
    message = sentence("some-maker/some-clip-that-nobody-has")
    assert "'some-maker/some-clip-that-nobody-has' could not be read" in message
    assert "check the id and the connection, or give a local folder" in message


@pytest.mark.parametrize("size", [0, 4, 1000, -1])
def test_truncated_weights(size: int, tmp_path: Path) -> None:
    weights = copy_of(tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])
    assert "could not be read" in sentence(tmp_path / "copy")


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "preprocessor_config.json"])
def test_truncated_json(file: str, tmp_path: Path) -> None:
    path = copy_of(tmp_path) / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "could not be read" in sentence(path.parent)


@pytest.mark.parametrize("file", ["model.safetensors", "preprocessor_config.json"])
def test_missing_files(file: str, tmp_path: Path) -> None:
    (copy_of(tmp_path) / file).unlink()
    assert "could not be read" in sentence(tmp_path / "copy")


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_a_missing_tokenizer_is_not_made_up(family: str, tmp_path: Path) -> None:
    folder = copy_of(tmp_path, family)
    for file in folder.glob("tokenizer*"):
        file.unlink()
    assert "tokenizer" in sentence(folder)


def test_missing_weights_are_not_drawn_at_random(tmp_path: Path) -> None:
    path = copy_of(tmp_path) / "model.safetensors"
    weights = load_file(path)
    gone = [name for name in sorted(weights) if "text_model.encoder.layers.1.mlp" in name]
    save_file({name: tensor for name, tensor in weights.items() if name not in gone}, path, {"format": "pt"})
    assert f"lacks the weight {gone[0]} and {len(gone) - 1} more" in sentence(path.parent)


def test_weights_of_another_size(tmp_path: Path) -> None:
    edit(copy_of(tmp_path) / "config.json", lambda config: config["vision_config"].update(hidden_size=64))
    assert "could not be read" in sentence(tmp_path / "copy")


def test_nonsense_in_the_configuration(tmp_path: Path) -> None:
    edit(copy_of(tmp_path) / "config.json", lambda config: config["vision_config"].update(hidden_size="wide"))
    assert "could not be read" in sentence(tmp_path / "copy")


def test_other_families(tmp_path: Path) -> None:
    config = copy_of(tmp_path) / "config.json"
    config.write_text(json.dumps({"model_type": "bert"}))
    message = sentence(config.parent)
    assert "is a bert model, not a dual encoder Synoptic knows; use one of the families: clip, siglip" in message
    config.write_text(json.dumps({"model_type": "no-such-family"}))
    assert "could not be read" in sentence(config.parent)


def test_fingerprint_is_of_the_content_not_of_the_place(tmp_path: Path) -> None:
    first = base("clip").fingerprint
    assert load_dual_encoder(str(FOLDERS["clip"]())).fingerprint == first
    assert load_dual_encoder(str(copy_of(tmp_path))).fingerprint == first
    assert base("siglip").fingerprint != first
    assert load_dual_encoder(str(write_clip(tmp_path / "other", seed=1))).fingerprint != first


def test_fingerprint_sees_one_weight_and_one_setting(tmp_path: Path) -> None:
    folder = copy_of(tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights["text_projection.weight"][3, 4] += 1e-6
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    one_weight = load_dual_encoder(str(folder)).fingerprint
    edit(folder / "config.json", lambda config: config["vision_config"].update(num_attention_heads=4))
    assert len({base("clip").fingerprint, one_weight, load_dual_encoder(str(folder)).fingerprint}) == 3


def test_the_base_is_frozen_and_shared() -> None:
    model = shared_dual_encoder("tiny-clip")
    assert shared_dual_encoder("tiny-clip") is model
    assert not any(parameter.requires_grad for parameter in model.model.parameters())
    assert not model.model.training


def test_embedded_tiny_clip_reads_digits_without_training() -> None:
    """Chance is 0.1. The pictures are scikit-learn's real digits, which the checkpoint has never seen."""
    model = shared_dual_encoder("tiny-clip")
    images, labels = digits.load()
    test = digits.split()[1]
    tokens = model.tokenize([digits.TEMPLATE.format(name) for name in digits.CLASS_NAMES])
    with torch.no_grad():
        text = model.text_suffix(tokens, model.text_prefix(tokens, READY), READY, 1)
        image = model.image_suffix(model.image_prefix(model.pixels(images[test]), READY), READY)
    guess = model.logits(image.unsqueeze(0), text)[0].argmax(1).numpy()
    assert np.mean(guess == labels[test]) > 0.4


def test_embedded_tiny_clip_ends_texts_with_its_highest_id() -> None:
    assert "tiny-clip" in embedded()
    model = shared_dual_encoder("tiny-clip")
    tokenizer = model.tokenizer
    assert tokenizer.eos_token_id == len(tokenizer) - 1 == max(tokenizer.get_vocab().values())
    tokens = model.tokenize(["the digit 3.", "a large red circle, painted"])
    assert (tokens.ids_NT.argmax(1) == tokens.pool_N).all(), "the old and the new pooling rule agree"
    rows = torch.arange(2)
    assert (tokens.ids_NT[rows, tokens.pool_N] == tokenizer.eos_token_id).all()


def test_an_embedded_base_has_a_folder_for_other_libraries() -> None:
    import synoptic

    assert synoptic.base_folder is base_folder
    assert base_folder("tiny-clip") == embedded()["tiny-clip"]
    with pytest.raises(SynopticError, match="did you mean 'tiny-clip'"):
        base_folder("tiny-clp")


@pytest.mark.parametrize("family", FOLDERS)
def test_processors_are_saved_as_they_came_whatever_was_done_with_them(family: str, tmp_path: Path) -> None:
    from transformers import AutoProcessor

    base(family).tokenize(["a red circle", "seven"])
    save_processors(base(family).name, tmp_path)
    shutil.copy(FOLDERS[family]() / "config.json", tmp_path)
    assert (tmp_path / "tokenizer.json").read_text() == (FOLDERS[family]() / "tokenizer.json").read_text()
    processor = AutoProcessor.from_pretrained(tmp_path)
    assert processor.tokenizer("seven")["input_ids"] == base(family).tokenizer("seven")["input_ids"]
