"""Adapters in PEFT's own folder format, out and in.

A folder holds ``adapter_config.json`` and ``adapter_model.safetensors`` as PEFT writes them, so that plain ``peft``
loads the LoRA part; ``synoptic_extra.safetensors`` with what PEFT does not hold on a dual encoder (prompts, heads, and
LoRA on the output projection of an `nn.MultiheadAttention`, see `peft_layout`); ``synoptic.json``, which names the base
and says which site owns which columns; and a card, ``README.md``.

    from peft import PeftModel
    model = PeftModel.from_pretrained(CLIPModel.from_pretrained(base), folder)
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Protocol

import torch
from pydantic import Field, ValidationError
from tensordict import TensorDict
from torch import Tensor, nn

from synoptic.adapters.peft_card import model_card
from synoptic.adapters.peft_layout import OUT, Pair, from_modules, to_modules
from synoptic.adapters.stack import adapter, names
from synoptic.core import Section, SynopticError
from synoptic.core.files import read_json, read_tensors, write_bytes, write_json, write_tensors, write_text

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
NOTE, EXTRA, CARD = "synoptic.json", "synoptic_extra.safetensors", "README.md"

UNSUPPORTED = (
    "use_dora", "lora_bias", "modules_to_save", "fan_in_fan_out", "trainable_token_indices", "use_qalora",
    "target_parameters", "layer_replication", "alora_invocation_tokens", "velora_config", "monteclora_config",
    "kasa_config", "arrow_config", "use_bdlora", "loftq_config",
)  # fmt: skip
"""Fields of PEFT's LoRA configuration that change what is computed; any of them set is more than ``scale * B A``."""

PLAIN_STARTS = (True, False, "gaussian", "orthogonal", "eva")
"""Initialisations that leave the base as it is (PiSSA, OLoRA, CorDA and the like change it)."""


Stem = Annotated[str, Field(pattern=r"^[a-z]+/lora/[^#@]+(#[qkv])?(@[a-z0-9_]+)?$")]


class Base(Protocol):
    """What is needed of a frozen base; a `DualEncoder` has it."""

    name: str
    fingerprint: str
    model: Any


class Words(Section):
    """What an adapter was trained to tell apart.

    Attributes:
        classes: names of all classes.
        novel: those of them that were never trained.
        template: the prompt, with ``{}`` for the class.
    """

    classes: tuple[str, ...]
    novel: tuple[str, ...] = ()
    template: str


class Note(Section):
    """What ``synoptic.json`` holds."""

    format: int = 1
    base: str
    fingerprint: str
    sites: dict[Stem, tuple[int, int]] = Field(default_factory=dict)
    extra: tuple[str, ...] = ()
    words: Words | None = None


def export_peft(one: TensorDict, folder: Path, base: Base, words: Words | None = None) -> None:
    """Write one adapter (batch size ``[]``) for plain PEFT, and for `import_peft`.

    Sites keep their factors, zero padding included, and their alpha / rank, by ``rank_pattern`` and ``alpha_pattern``
    where they differ. Without any LoRA pair there is nothing PEFT could load, and its two files are left out.

    Args:
        one: the adapter.
        folder: where to write.
        base: what it was trained on.
        words: what it was trained to tell apart, for whoever uses it later.

    Raises:
        SynopticError: a stack instead of one adapter, or sites that the base does not have.
    """
    if one.batch_size:
        raise SynopticError(f"a stack of {one.batch_size[0]} adapters cannot be one PEFT folder", "export stack[k]")
    modules, columns = to_modules(one, base.model)
    extra = {name: one[name] for name in names(one) if name.rpartition("/")[0] not in columns}
    folder.mkdir(parents=True, exist_ok=True)
    if modules:
        write_tensors(folder / WEIGHTS, _tensors(modules), {"format": "pt"})
        write_json(folder / CONFIG, peft_config(modules, base))
    else:
        _remove(folder, CONFIG, WEIGHTS)
    if extra:
        write_tensors(folder / EXTRA, extra, {"format": "pt"})
    else:
        _remove(folder, EXTRA)
    note = Note(base=base.name, fingerprint=base.fingerprint, sites=columns, extra=tuple(extra), words=words)
    write_json(folder / NOTE, note.model_dump(mode="json"))
    write_text(folder / CARD, model_card(base.name, base.fingerprint, type(base.model).__name__, modules, tuple(extra)))


def copy_peft(folder: Path, target: Path, base: str, card: str) -> None:
    """The same adapter in another folder.

    Args:
        folder: written by `export_peft`.
        target: where to write.
        base: what the base is called there.
        card: text of its ``README.md``.

    Raises:
        SynopticError: ``folder`` was not written by `export_peft`, or lacks a file.
    """
    note = read_note(folder)
    if note is None:
        raise SynopticError(f"{folder / NOTE} does not exist", "export the adapter again")
    for file in (WEIGHTS, EXTRA):
        if (folder / file).exists():
            write_bytes(target / file, (folder / file).read_bytes())
    if (folder / CONFIG).exists():
        write_json(target / CONFIG, {**read_json(folder / CONFIG), "base_model_name_or_path": base})
    write_json(target / NOTE, note.model_copy(update={"base": base}).model_dump(mode="json"))
    write_text(target / CARD, card)


def _remove(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).unlink(missing_ok=True)


def _tensors(modules: Mapping[str, Pair]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, pair in modules.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = pair.A_rD
        tensors[f"base_model.model.{name}.lora_B.weight"] = pair.B_Or
    return tensors


def peft_config(modules: Mapping[str, Pair], base: Base) -> dict[str, Any]:
    """PEFT's configuration. Modules are named in full, so that a name in one tower never matches the other."""
    wrapped = {name: pair for name, pair in modules.items() if not name.endswith(OUT)}
    settings = {name: (pair.rank, _alpha_of(pair)) for name, pair in wrapped.items()}
    rank, alpha = Counter(settings.values()).most_common(1)[0][0]
    return {
        "auto_mapping": {"base_model_class": type(base.model).__name__, "parent_library": type(base.model).__module__},
        "base_model_name_or_path": base.name,
        "peft_type": "LORA",
        "task_type": None,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "use_rslora": False,
        "use_dora": False,
        "modules_to_save": None,
        "target_modules": sorted(wrapped),
        "rank_pattern": {_exactly(name): own for name, (own, _) in sorted(settings.items()) if own != rank},
        "alpha_pattern": {_exactly(name): own for name, (_, own) in sorted(settings.items()) if own != alpha},
    }


def _exactly(name: str) -> str:
    # PEFT reads pattern keys as regular expressions that may match the end of a name.
    return f"^{re.escape(name)}"


def _alpha_of(pair: Pair) -> float | int:
    """Alpha whose quotient by the rank is the pair's float32 scale, as short a number as that allows."""
    exact = pair.scale * pair.rank
    short = round(exact, 4)
    alpha = short if torch.tensor(short / pair.rank) == torch.tensor(pair.scale) else exact
    return int(alpha) if alpha.is_integer() else alpha


def import_peft(folder: Path, base: Base | None = None) -> TensorDict:
    """Read a PEFT folder as one adapter, float32, whoever made it.

    Args:
        folder: written by `export_peft`, or by plain PEFT for a whole CLIP or SigLIP model.
        base: when given, the adapter is checked against it: fingerprint (where known), modules and shapes.

    Raises:
        SynopticError: no such folder, damaged or missing files and tensors, LoRA variants that are more than
            ``scale * B A``, or an adapter of another base.
    """
    if not folder.is_dir():
        raise SynopticError(f"there is no adapter folder {folder}", "check the path")
    note = read_note(folder)
    if not (folder / CONFIG).exists() and (note is None or note.sites):
        raise SynopticError(f"the folder {folder} holds no {CONFIG}", "point to a folder in PEFT's format")
    if note is not None and base is not None and note.fingerprint != base.fingerprint:
        theirs, ours = f"{note.base} ({note.fingerprint})", f"{base.name} ({base.fingerprint})"
        raise SynopticError(f"the adapter in {folder} was made for {theirs}, not for {ours}", "load that base")
    modules = _read_modules(folder) if (folder / CONFIG).exists() else {}
    if base is not None:
        _check_shapes(folder, modules, base)
    columns = note.sites if note is not None else {}
    result: dict[str, Tensor] = {}
    for stem, pair in from_modules(modules, columns).items():
        result |= {f"{stem}/A": pair.A_rD, f"{stem}/B": pair.B_Or, f"{stem}/scale": torch.tensor(pair.scale)}
    return adapter(result | _read_extra(folder, note))


def read_note(folder: Path) -> Note | None:
    """What ``synoptic.json`` says, or None where there is none: plain PEFT made the folder.

    Raises:
        SynopticError: the file is damaged.
    """
    if not (folder / NOTE).exists():
        return None
    try:
        return Note.model_validate(read_json(folder / NOTE))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "its top level"
        raise SynopticError(f"{folder / NOTE} is damaged at {where}", "export the adapter again") from error


def _read_extra(folder: Path, note: Note | None) -> dict[str, Tensor]:
    if note is None or not note.extra:
        return {}
    tensors, _ = read_tensors(folder / EXTRA)
    missing = sorted(set(note.extra) - tensors.keys())
    if missing:
        raise SynopticError(f"{folder / EXTRA} lacks {missing[0]}", "export the adapter again")
    return {name: _finite(folder / EXTRA, name, tensors[name]) for name in note.extra}


def _read_modules(folder: Path) -> dict[str, Pair]:
    config = read_json(folder / CONFIG)
    _check_supported(folder, config)
    if not (folder / WEIGHTS).exists() and (folder / "adapter_model.bin").exists():
        raise SynopticError(f"the weights in {folder} are a pickle, which Synoptic does not open",
                            "save the adapter again with PEFT's save_pretrained, which writes safetensors")  # fmt: skip
    tensors, _ = read_tensors(folder / WEIGHTS)
    factors: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        match = re.fullmatch(r"base_model\.model\.(.+)\.lora_([AB])\.weight", key)
        if match is None or tensor.ndim != 2:
            raise SynopticError(f"{folder / WEIGHTS} holds {key} {list(tensor.shape)}, which is no LoRA factor",
                                "export LoRA on linear weights only")  # fmt: skip
        factors.setdefault(match[1], {})[match[2]] = _finite(folder / WEIGHTS, key, tensor)
    _check_targets(folder, config, factors)
    return {name: _pair(folder, name, both, config) for name, both in sorted(factors.items())}


def _finite(path: Path, name: str, tensor: Tensor) -> Tensor:
    if not torch.isfinite(tensor).all():
        raise SynopticError(f"{path} has non-finite values in {name}", "restore it or train it again")
    return tensor.float()


def _check_supported(folder: Path, config: Any) -> None:
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if kind != "LORA":
        raise SynopticError(f"the adapter in {folder} is of type {kind}, not LORA", "import LoRA adapters only")
    start = config.get("init_lora_weights", True)
    used = [field for field in UNSUPPORTED if config.get(field)]
    used += ["bias"] if config.get("bias", "none") != "none" else []
    used += [] if start in PLAIN_STARTS else [f"init_lora_weights={start}"]
    if used:
        raise SynopticError(f"the adapter in {folder} uses {', '.join(used)}, which is unsupported: Synoptic holds "
                            "plain LoRA", "convert it to plain LoRA with PEFT first")  # fmt: skip


def _check_targets(folder: Path, config: dict[str, Any], found: Mapping[str, object]) -> None:
    targets = config.get("target_modules") or []
    for target in [] if isinstance(targets, str) else sorted(targets):
        if not any(name == target or name.endswith(f".{target}") for name in found):
            raise SynopticError(f"{folder / WEIGHTS} has no weights for '{target}', which its {CONFIG} names",
                                "restore the file or export the adapter again")  # fmt: skip
    if not found:
        raise SynopticError(f"{folder / WEIGHTS} holds no weights", "export the adapter again")


def _pair(folder: Path, name: str, both: Mapping[str, Tensor], config: dict[str, Any]) -> Pair:
    if both.keys() != {"A", "B"} or both["A"].shape[0] != both["B"].shape[1] or not both["A"].numel():
        raise SynopticError(f"{folder / WEIGHTS} lacks half of the LoRA pair of '{name}', or its ranks disagree",
                            "restore the file or export the adapter again")  # fmt: skip
    rank = both["A"].shape[0]
    alpha = _alpha_in(folder, name.removesuffix(OUT), config)
    return Pair(both["A"], both["B"], alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))


def _alpha_in(folder: Path, name: str, config: dict[str, Any]) -> float:
    """PEFT's rule: the first pattern that matches the end of the module's name, otherwise ``lora_alpha``."""
    try:
        for pattern, alpha in (config.get("alpha_pattern") or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", name):
                return float(alpha)
        return float(config["lora_alpha"])
    except (KeyError, TypeError, ValueError, re.error) as error:
        raise SynopticError(f"{folder / CONFIG} has no usable lora_alpha for '{name}'", "restore the file") from error


def _check_shapes(folder: Path, modules: Mapping[str, Pair], base: Base) -> None:
    for name, pair in modules.items():
        has, needs = (pair.B_Or.shape[0], pair.A_rD.shape[1]), _shape(base.model, name.replace(OUT, ".out_proj"))
        if has != needs:
            lacks = "lacks" if needs is None else f"has as {needs[0]} x {needs[1]}"
            raise SynopticError(f"the adapter in {folder} adapts '{name}' as {has[0]} x {has[1]}, "
                                f"which {base.name} {lacks}", "load the base that it was made for")  # fmt: skip


def _shape(model: nn.Module, path: str) -> tuple[int, int] | None:
    try:
        module = model.get_submodule(path)
    except AttributeError:
        return None
    weight = module.in_proj_weight if isinstance(module, nn.MultiheadAttention) else getattr(module, "weight", None)
    return (weight.shape[0], weight.shape[1]) if isinstance(weight, Tensor) and weight.ndim == 2 else None
