"""Loading a frozen base: by the name of an embedded one, a folder, or a hub id."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from synoptic.core import SynopticError
from synoptic.core.errors import nearest
from synoptic.core.files import digest, read_json
from synoptic.models.answerer import Answerer
from synoptic.models.answerer.decoder import Decoder
from synoptic.models.answerer.families import Family, Llava
from synoptic.models.answerer.idefics import Idefics
from synoptic.models.answerer.qwen import QwenVL
from synoptic.models.dual_encoder import DualEncoder
from synoptic.models.preprocess import Preprocess

FAMILIES = {"clip": "CLIPModel", "siglip": "SiglipModel"}
ANSWERERS: dict[str, type[Family]] = {
    "llava": Llava, "qwen2_vl": QwenVL, "qwen2_5_vl": QwenVL, "idefics3": Idefics, "smolvlm": Idefics,
}  # fmt: skip
UNWRITTEN = ("num_attention_heads", "hidden_act", "layer_norm_eps", "image_size", "patch_size", "eos_token_id")
UNWRITTEN_DUAL = {"vision_config": UNWRITTEN, "text_config": UNWRITTEN}
UNWRITTEN_ANSWERER = {
    "": ("image_token_id", "vision_feature_layer", "vision_feature_select_strategy", "projector_hidden_act",
         "scale_factor"),
    "vision_config": ("num_heads", "num_attention_heads", "hidden_act", "layer_norm_eps", "image_size", "patch_size",
                      "spatial_merge_size", "window_size", "fullatt_block_indexes"),
    "text_config": ("num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act", "rms_norm_eps",
                    "rope_parameters"),
}  # fmt: skip
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "spiece.model")
BaseDtype = Literal["float32", "bfloat16"]
Base = DualEncoder | Answerer


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
    _check_dual(name)
    model = load_model(name, dtype)
    assert isinstance(model, DualEncoder)
    return model


def _check_dual(name: str) -> None:
    kind = _read_config(*_locate(name), name).model_type
    if kind not in FAMILIES:
        raise SynopticError(f"'{name}' is a {kind} model, not a dual encoder Synoptic knows",
                            f"use one of the families: {', '.join(FAMILIES)}")  # fmt: skip


def load_model(name: str, dtype: BaseDtype = "float32") -> DualEncoder | Answerer:
    """A frozen base of whatever kind its configuration says.

    Args:
        name: an embedded checkpoint (see `embedded`), a folder written by ``save_pretrained``, or a hub id.
        dtype: how the frozen linear and embedding weights rest; norms and everything trained stay float32.

    Raises:
        SynopticError: nothing of that name, a damaged file, or a family that Synoptic does not know.
    """
    where, local = _locate(name)
    kind = _read_config(where, local, name).model_type
    if kind in FAMILIES:
        model, tokenizer, processor = _read(where, name, FAMILIES[kind], local)
        fingerprint = _fingerprint(model, UNWRITTEN_DUAL)
        _rest(model, dtype)
        return DualEncoder(model, tokenizer, Preprocess(processor), fingerprint, name)
    if kind in ANSWERERS:
        return _answerer(name, where, local, ANSWERERS[kind], dtype)
    raise SynopticError(f"'{name}' is a {kind} model, which Synoptic does not know",
                        f"use a dual encoder ({', '.join(FAMILIES)}) or a model that answers questions "
                        f"({', '.join(ANSWERERS)})")  # fmt: skip


def _answerer(name: str, where: str, local: bool, family: type[Family], dtype: BaseDtype) -> Answerer:
    model, tokenizer, processor = _read(where, name, "AutoModelForImageTextToText", local)
    if tokenizer.chat_template is None:
        tokenizer.chat_template = _chat_template(where, local)
    fingerprint = _fingerprint(model, UNWRITTEN_ANSWERER)
    kind = family(model, processor, tokenizer)
    decoder = Decoder(model.get_submodule(kind.text), model.get_output_embeddings(), kind.text)
    decoder.check(name)
    _rest(model, dtype)
    return Answerer(model, tokenizer, kind, decoder, fingerprint, name)


def _chat_template(where: str, local: bool) -> str | None:
    """The template that older checkpoints keep beside their tokenizer, in a file of its own."""
    from transformers.utils.hub import cached_file

    path = cached_file(where, "chat_template.json", local_files_only=local,
                       _raise_exceptions_for_missing_entries=False)  # fmt: skip
    found = read_json(Path(path)) if path is not None else None
    return found.get("chat_template") if isinstance(found, dict) else None


def save_processors(name: str, folder: Path) -> None:
    """Write a model's tokenizer and image processor, as they come, where ``AutoProcessor`` finds them.

    Those of a `DualEncoder` in use remember how they were last called.
    """
    from transformers import AutoImageProcessor, AutoTokenizer

    where, _ = _locate(name)
    for kind in (AutoTokenizer, AutoImageProcessor):
        kind.from_pretrained(where).save_pretrained(folder)


@cache
def shared_model(name: str, dtype: BaseDtype = "float32") -> DualEncoder | Answerer:
    """The same as `load_model`, loaded once in a process: runs share the base and its caches."""
    return load_model(name, dtype)


def shared_dual_encoder(name: str, dtype: BaseDtype = "float32") -> DualEncoder:
    """The same as `load_dual_encoder`, loaded once in a process: runs share the base and its caches."""
    _check_dual(name)
    model = shared_model(name, dtype)
    assert isinstance(model, DualEncoder)
    return model


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


def _read_config(where: str, local: bool, name: str) -> Any:
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


def _fingerprint(model: nn.Module, unwritten: Mapping[str, Sequence[str]]) -> str:
    config: Any = model.config
    parts = [config.model_type]
    for name, keys in unwritten.items():
        # What the weights' names and shapes do not tell; written out, because defaults move between library versions.
        part = getattr(config, name) if name else config
        parts += [f"{key}={getattr(part, key, None)}" for key in keys]
    weights = [part for name, tensor in sorted(model.state_dict().items()) for part in (name, tensor)]
    return digest(*parts, *weights)


def _rest(model: nn.Module, dtype: BaseDtype) -> None:
    if dtype == "float32":
        return
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding | nn.MultiheadAttention):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(torch.bfloat16)
