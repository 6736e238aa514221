"""Loading a frozen base: by the name of an embedded one, a folder, or a hub id."""

from __future__ import annotations

import os
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from synoptic.core import SynopticError
from synoptic.core.errors import nearest
from synoptic.core.files import digest
from synoptic.models.dual_encoder import DualEncoder
from synoptic.models.preprocess import Preprocess

FAMILIES = {"clip": "CLIPModel", "siglip": "SiglipModel"}
UNWRITTEN = ("num_attention_heads", "hidden_act", "layer_norm_eps", "image_size", "patch_size", "eos_token_id")
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "spiece.model")
BaseDtype = Literal["float32", "bfloat16"]


def embedded() -> dict[str, Path]:
    """Checkpoints that ship with the package, by name."""
    root = Path(str(resources.files("synoptic.models"))) / "embedded"
    return {path.name: path for path in sorted(root.glob("*")) if (path / "config.json").exists()}


def base_folder(name: str) -> Path:
    """Where an embedded checkpoint lies, for other libraries: ``CLIPModel.from_pretrained(base_folder("tiny-clip"))``.

    Raises:
        SynopticError: no embedded checkpoint of that name.
    """
    known = embedded()
    if name not in known:
        raise SynopticError(f"there is no embedded model called '{name}'", nearest(name, known))
    return known[name]


def load_dual_encoder(name: str, dtype: BaseDtype = "float32") -> DualEncoder:
    """A frozen dual encoder.

    Args:
        name: an embedded checkpoint (``tiny-clip``), a folder written by ``save_pretrained``, or a hub id.
        dtype: how the frozen linear and embedding weights rest; norms and everything trained stay float32.

    Raises:
        SynopticError: nothing of that name, a damaged file, or a family that is not a dual encoder.
    """
    where, local = _locate(name)
    config = _read_config(where, name, local)
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise SynopticError(f"'{name}' is a {config.model_type} model, not a dual encoder Synoptic knows",
                            f"use one of the families: {', '.join(FAMILIES)}")  # fmt: skip
    model, tokenizer, processor = _read(where, name, family, local)
    fingerprint = _fingerprint(model)
    if dtype == "bfloat16":
        _halve(model)
    return DualEncoder(model, tokenizer, Preprocess(processor), fingerprint, name)


def save_processors(name: str, folder: Path) -> None:
    """Write a model's tokenizer and image processor, as they come, where ``AutoProcessor`` finds them.

    Those of a `DualEncoder` in use remember how they were last called.
    """
    from transformers import AutoImageProcessor, AutoTokenizer

    where, _ = _locate(name)
    for kind in (AutoTokenizer, AutoImageProcessor):
        kind.from_pretrained(where).save_pretrained(folder)


@cache
def shared_dual_encoder(name: str, dtype: BaseDtype = "float32") -> DualEncoder:
    """The same as `load_dual_encoder`, loaded once in a process: runs share the base and its caches."""
    return load_dual_encoder(name, dtype)


def _locate(name: str) -> tuple[str, bool]:
    known = embedded()
    if name in known:
        return str(known[name]), True
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").exists():
            raise SynopticError(f"the folder {path} holds no config.json", "point to a folder made by save_pretrained")
        return str(path), True
    if "/" not in name or name.startswith((".", "/", "~")):
        hint = nearest(name, known)
        more = "" if hint.endswith("?") else ", a folder, or a hub id such as openai/clip-vit-base-patch32"
        raise SynopticError(f"there is no embedded model or folder called '{name}'", hint + more)
    return name, False


def _read_config(where: str, name: str, local: bool) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(where, local_files_only=local)
    except Exception as error:
        # The library raises errors of many families for damaged files, plain Exception among them.
        raise _unreadable(name, local, error) from error


def _read(where: str, name: str, family: str, local: bool) -> tuple[Any, Any, Any]:
    import transformers

    quiet = os.environ.get("TRANSFORMERS_VERBOSITY") is None
    if quiet:
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
    options: dict[str, Any] = {"local_files_only": local}
    try:
        load = getattr(transformers, family).from_pretrained
        model, found = load(where, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **options)
        tokenizer = transformers.AutoTokenizer.from_pretrained(where, **options)
        processor = transformers.AutoImageProcessor.from_pretrained(where, **options)
    except Exception as error:
        raise _unreadable(name, local, error) from error
    # The library draws missing weights at random and makes up a missing tokenizer, without a word.
    missing = sorted(found["missing_keys"])
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise SynopticError(f"the model '{name}' lacks the weight {missing[0]}{more}", "write it again whole")
    if local and not any((Path(where) / file).exists() for file in TOKENIZER_FILES):
        raise SynopticError(f"the model '{name}' has no tokenizer", f"add {TOKENIZER_FILES[0]} to its folder")
    return model, tokenizer, processor


def _unreadable(name: str, local: bool, error: Exception) -> SynopticError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = lines[0].rstrip(".")[:200]
    fix = "write it again with save_pretrained" if local else "check the id and the connection, or give a local folder"
    return SynopticError(f"the model '{name}' could not be read ({reason})", fix)


def _fingerprint(model: nn.Module) -> str:
    config: Any = model.config
    parts = [config.model_type]
    for tower in (config.vision_config, config.text_config):
        # What the weights' names and shapes do not tell; written out, because defaults move between library versions.
        parts += [f"{key}={getattr(tower, key, None)}" for key in UNWRITTEN]
    weights = [part for name, tensor in sorted(model.state_dict().items()) for part in (name, tensor)]
    return digest(*parts, *weights)


def _halve(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding | nn.MultiheadAttention):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(torch.bfloat16)
